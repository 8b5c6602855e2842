"""Operator tables become the tidy schema: units, what is left out, and mistakes in one line."""

from pathlib import Path

import numpy as np
import pytest

from silicast.errors import EvidenceError
from silicast.evidence.ingest import aiconfigurator
from silicast.evidence.ingest.folder import read_folder
from silicast.evidence.ingest.operators import operators, shapes
from silicast.evidence.ingest.published import read_evidence
from silicast.evidence.record import shipped

GEMM = {
    "kernel_source": ["torch"] * 3,
    "gemm_dtype": ["bfloat16", "fp8_block", "nvfp4"],
    "m": [1, 16, 128],
    "n": [256, 256, 256],
    "k": [512, 512, 512],
    "latency": [0.004, 0.005, 0.006],
}


def parquet(folder: Path, place: str, columns: dict[str, list[object]]) -> Path:
    arrow = pytest.importorskip("pyarrow")
    tables = pytest.importorskip("pyarrow.parquet")
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    tables.write_table(arrow.table(columns), path)
    return path


def test_latencies_are_microseconds_and_kernels_have_catalog_names(tmp_path):
    parquet(tmp_path, "systems/data/h100_sxm/gemm/trtllm/1.3.0/gemm_perf.parquet", GEMM)
    (path,) = aiconfigurator.tables(tmp_path)
    found = aiconfigurator.read(path)
    assert list(found["latency_us"]) == [4, 5, 6]
    assert list(found["dtype"]) == ["bf16", "fp8_block", "fp4"]
    assert set(found["chip"]) == {"h100-sxm"}


def test_messages_count_elements_and_all_gathers_their_result(tmp_path):
    columns = {
        "nccl_dtype": ["half", "int8"], "num_gpus": [8, 8], "message_size": [1024, 1024], "kernel_source": ["NCCL"] * 2,
        "op_name": ["all_gather", "all_gather"], "latency": [0.01, 0.01],
    }  # fmt: skip
    path = parquet(tmp_path, "h100_sxm/comm/nccl/2.29/nccl_perf.parquet", columns)
    found = aiconfigurator.read(path)
    assert list(found["bytes"]) == [2048]


def test_only_tables_below_systems_data_are_opened(tmp_path, monkeypatch):
    """The package also holds serving rows from which others were withheld."""
    parquet(tmp_path, "systems/data/h100_sxm/gemm/trtllm/1.3.0/gemm_perf.parquet", GEMM)
    withheld = tmp_path / "systems" / "silicon_sample.csv"
    withheld.write_text("secret")
    opened = []
    reading = pytest.importorskip("pyarrow.parquet").read_table
    monkeypatch.setattr("pyarrow.parquet.read_table", lambda path: opened.append(path) or reading(path))
    for folder in (tmp_path, tmp_path / "systems" / "data"):
        for path in aiconfigurator.tables(folder):
            aiconfigurator.read(path)
    assert opened
    assert all("systems/data" in path.as_posix() and path.suffix == ".parquet" for path in opened)
    with pytest.raises(EvidenceError, match="only Parquet"):
        aiconfigurator.read(withheld)


def test_the_newest_complete_version_is_read(tmp_path):
    many = {name: values * 400 for name, values in GEMM.items()} | {"m": list(range(1, 1201))}
    for version, columns in (("1.2.0", many), ("1.10.0", many | {"k": list(range(1, 1201))}), ("1.11.0", GEMM)):
        parquet(tmp_path, f"h100_sxm/gemm/trtllm/{version}/gemm_perf.parquet", columns)
    (path,) = aiconfigurator.tables(tmp_path)
    assert path.parent.name == "1.10.0"


def test_a_folder_without_tables_is_one_clear_line(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(EvidenceError):
            aiconfigurator.tables(folder)


def test_a_broken_table_is_one_clear_line(tmp_path):
    path = tmp_path / "h100_sxm/gemm/trtllm/1.0/gemm_perf.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a table")
    pytest.importorskip("pyarrow.parquet")
    with pytest.raises(EvidenceError, match="cannot be read"):
        aiconfigurator.read(path)


def test_nan_is_named_with_its_row(tmp_path):
    with pytest.raises(EvidenceError, match="latency_us' of row 2"):
        operators(3, op="gemm", m=1, n=1, k=1, latency_us=[1.0, np.nan, 2.0])
    (tmp_path / "gemm.csv").write_text("op,m,n,k,dtype,latency_us\ngemm,1,2,3,bf16,nan\n")
    with pytest.raises(EvidenceError, match="latency_us' of row 1"):
        read_folder(tmp_path)


def test_csv_mistakes_name_the_column(tmp_path):
    (tmp_path / "gemm.csv").write_text("op,m,n,k,dtyp,latency_us\ngemm,1,2,3,bf16,4\n")
    with pytest.raises(EvidenceError, match="'dtype'"):
        read_folder(tmp_path)
    (tmp_path / "gemm.csv").write_text("op,m,n,k,dtype,latency_us\ngemm,one,2,3,bf16,4\n")
    with pytest.raises(EvidenceError, match="'one', not a number"):
        read_folder(tmp_path)


def test_one_shape_has_one_code_whatever_the_stack():
    rows = operators(3, op="gemm", m=[1, 1, 2], n=1, k=1, stack=["vllm", "sglang", "vllm"], latency_us=1.0)
    code = shapes(rows)
    assert code[0] == code[1] != code[2]


def test_evidence_that_validates_or_is_suspect_is_not_fitted():
    if not shipped().is_dir():
        pytest.skip("no evidence ships")
    found = read_evidence([shipped()])
    assert len(found)
    assert set(found["chip"]) <= {"h800-sxm", "h20-96", "ascend-910c", "b200-sxm"}
    assert np.all(found["latency_us"] > 0)
