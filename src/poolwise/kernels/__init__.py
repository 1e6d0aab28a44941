"""Fast forward passes: packing, fused layers, attention variants, lanes. Independent of designs and files."""
