"""What the pages of a parquet file state, compared with what pyarrow reads in the footer."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from poolwise.errors import DataError
from poolwise.storage.parquet_pages import row_groups
from poolwise.storage.row_files import iter_rows

TABLE = pa.table(
    {
        "text": [f"t{number}" for number in range(2000)],
        "list": [[0.5 * other for other in range(number % 5)] for number in range(2000)],
        "none": [None] * 2000,
        "is_even": [number % 2 == 0 for number in range(2000)],
        "long": ["x" * 3000] * 2000,  # a header of a page holds the smallest and largest value
    }
)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("page_bytes", [1000, 2**20])
def test_every_page_is_counted(tmp_path: Path, version: str, compression: str, page_bytes: int) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        TABLE,
        path,
        compression=compression,
        data_page_version=version,
        data_page_size=page_bytes,
        row_group_size=900,
        use_dictionary=["text"],
        write_page_index=True,
    )
    stated = pq.read_metadata(path)
    found = row_groups(path)
    assert len(found) == stated.num_row_groups == 3
    for group, chunks in enumerate(found):
        for number, chunk in enumerate(chunks):
            column = stated.row_group(group).column(number)
            assert chunk.num_values == column.num_values
            # The footer counts the headers of pages too.
            assert column.total_uncompressed_size - chunk.num_bytes >= 0
    assert found[0][4].num_bytes >= 900 * 3000


def test_a_file_without_rows_has_no_values(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert [[chunk.num_values for chunk in group] for group in row_groups(tmp_path / "a.parquet")] in ([], [[0]])


@pytest.mark.parametrize("raw", [b"", b"PAR1", b"PAR1\x00\x00\x00\x00PAR1", b"PAR1\xff\xff\xff\xffPAR1", b"\x19" * 40])
def test_what_is_no_parquet_file_is_an_error(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.parquet"):
        list(iter_rows(tmp_path / "a.parquet"))
    with pytest.raises(ValueError, match="footer"):
        row_groups(tmp_path / "a.parquet")


def test_a_page_whose_header_is_damaged_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", "b"]}), path)
    raw = bytearray(path.read_bytes())
    raw[4:8] = b"\xff" * 4
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"cannot read .*a\.parquet"):
        list(iter_rows(path))
