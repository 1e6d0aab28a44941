"""How a forward is computed fast: packing, fused layers, attention variants, lanes. Knows no design and no file."""
