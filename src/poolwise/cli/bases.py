"""``poolwise bases``: the bases that come with poolwise, and those in its cache."""

from __future__ import annotations

from dataclasses import asdict

from poolwise.cli.options import Json, show_json

EXAMPLES = ("poolwise bases", "poolwise bases --json")


def bases(as_json: Json = False) -> None:
    """List the bases that have a name of poolwise's own, and the dequantised GGUF files in its cache.

    A base can also be any folder or hub id of a decoder-only model.
    """
    from poolwise.base_sources.listing import list_bases

    found = list_bases()
    if as_json:
        show_json([asdict(base) for base in found])
        return
    from poolwise.cli.table_view import print_table

    print_table(
        ("base", "weights", "size", "licence", "layers", "width", "attention", "where it is"),
        [
            (
                base.name,
                f"{base.quantisation}, dequantised" if base.quantisation else "as trained",
                f"{base.num_bytes / 1e6:,.0f} MB",
                base.licence or "not stated",
                str(base.num_layers),
                str(base.hidden_size),
                "verified" if base.is_verified else "not verified, probed when used",
                base.state,
            )
            for base in found
        ],
    )
