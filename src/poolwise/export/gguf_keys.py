"""Metadata of a GGUF file: read a key, and write a file again with other keys and the same tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter, Keys

_WRITTEN_ANYWAY = Keys.General.ARCHITECTURE
"""The key that the writer writes itself."""
_OF_READER = "GGUF."
"""Fields that the reader adds: version and counts of the header."""


def set_keys(path: Path, keys: Mapping[str, bool | int]) -> None:
    """Write a file again with these keys, whatever it said before; ``{arch}`` in a key is the file's architecture.

    Numbers are written as uint32. Other keys, their order, and the bytes of all tensors stay.
    """
    reader = GGUFReader(path)
    arch = str(reader.fields[Keys.General.ARCHITECTURE].contents())
    wanted = {key.format(arch=arch): value for key, value in keys.items()}
    partial = path.with_name(f"{path.name}.partial")
    writer = GGUFWriter(partial, arch, endianess=reader.endianess)
    writer.data_alignment = reader.alignment
    for field in reader.fields.values():
        if field.name == _WRITTEN_ANYWAY or field.name.startswith(_OF_READER) or field.name in wanted:
            continue
        inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for key, value in wanted.items():
        kind = GGUFValueType.BOOL if isinstance(value, bool) else GGUFValueType.UINT32
        writer.add_key_value(key, value, kind)
    for tensor in reader.tensors:
        data = tensor.data
        writer.add_tensor_info(tensor.name, data.shape, data.dtype, data.nbytes, tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:
        writer.write_tensor_data(tensor.data, tensor_endianess=reader.endianess)
    writer.close()
    partial.replace(path)
