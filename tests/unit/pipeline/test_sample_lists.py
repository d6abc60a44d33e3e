"""What names a sample, as a word and in files."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SourceError
from pipeline.sample_lists import SampleRef, parse_sample, read_sample_list

ID, SHA = "0123456789abcdef" * 2, "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (ID, "sample_id", ID),
        (ID.upper(), "sample_id", ID),
        (SHA, "sha256", SHA),
        (ID[:-1], "path", ID[:-1]),
        (f"path:{ID}", "path", ID),
        (f"sha256:{SHA}", "sha256", SHA),
        ("a/b c.jpg", "path", "a/b c.jpg"),
        ("s3:odd", "path", "s3:odd"),
    ],
)
def test_a_word_says_what_it_is(text, kind, value):
    assert parse_sample(text) == SampleRef(kind, value)


@pytest.mark.parametrize("text", [f"sha256:{ID}", "sample_id:xyz", f"sample_id:{SHA}"])
def test_a_wrong_digest_is_no_path(text):
    with pytest.raises(ValueError, match="hexadecimal"):
        parse_sample(text)


def write(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


def test_lines_of_text(tmp_path):
    file = write(tmp_path, "list.txt", f"a/1.jpg\n\n{SHA}\n")
    assert read_sample_list(file) == [SampleRef("path", "a/1.jpg"), SampleRef("sha256", SHA)]


def test_a_column_of_csv(tmp_path):
    file = write(tmp_path, "list.csv", f'why,path\nx,"a,1.jpg"\ny,{ID}\n')
    assert read_sample_list(file) == [SampleRef("path", "a,1.jpg"), SampleRef("path", ID)]


def test_a_column_of_parquet(tmp_path):
    table = pa.table({"path": ["x"], "sample_id": [ID]})
    pq.write_table(table, tmp_path / "list.parquet")
    assert read_sample_list(str(tmp_path / "list.parquet")) == [SampleRef("sample_id", ID)]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("empty.txt", "\n", "lists no sample"),
        ("columns.csv", "file,why\na,b\n", "none of its columns"),
        ("odd.csv", "sample_id\nnonsense\n", "hexadecimal"),
        ("cut.parquet", "PAR1 and no more", "no list of samples"),
    ],
)
def test_what_lists_nothing_is_an_error_and_never_all(tmp_path, name, text, said):
    with pytest.raises(SourceError, match=said):
        read_sample_list(write(tmp_path, name, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"gone\.txt"):
        read_sample_list(str(tmp_path / "gone.txt"))
