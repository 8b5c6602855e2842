"""Files of every format: what they start, where, on how many devices; and how they are written."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from silicast.errors import InputError, LayoutError
from silicast.launch import FORMATS, LaunchError, Limits, launch, write
from silicast.launch import yaml as own_yaml
from silicast.launch.deployed import read_deployment
from silicast.launch.reading import read
from silicast.launch.stacks import TRANSLATORS
from silicast.report.folder import write_folder
from silicast.scenario import Deployment, Layout, Pool, Precision, Speculation
from tests.unit.launches import QWEN, R1, aggregated, apart

ONLY = {"llm-d": ("vllm", "rocm-vllm"), "dynamo": ("vllm", "sglang", "trtllm")}
ASCEND = {"vllm-ascend", "sglang-ascend", "mindie"}
INT8 = Precision("int8", "int8")
INT8_CACHE = Precision("fp8_block", "fp8_block", "int8")


def chip_of(stack: str) -> str:
    return "mi300x" if stack == "rocm-vllm" else "ascend-910b" if stack in ASCEND else "h200-sxm"


def documents(text: str):
    return list(yaml.safe_load_all(text))


# every stack in every format


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("stack", TRANSLATORS)
def test_every_file_can_be_parsed(stack, form):
    if stack not in ONLY.get(form, TRANSLATORS):
        with pytest.raises(LaunchError, match="stacks: "):
            write(launch(aggregated(stack, chip_of(stack))), form)
        return
    files = write(launch(aggregated(stack, chip_of(stack))), form)
    for name, text in files.items():
        if name.endswith(".yaml"):
            assert documents(text)
        elif name.endswith(".json"):
            json.loads(text)
        else:
            assert text.startswith("#!/bin/sh\n")


@pytest.mark.parametrize("stack", TRANSLATORS)
def test_a_script_reads_back_as_the_deployment(stack):
    deployment = aggregated(stack, chip_of(stack))
    limits = Limits(64, 4096, memory_share=0.8, context_tokens=8192)
    files = write(launch(deployment, [limits]), "command")
    text = files.get("serve.config.json", files["serve.sh"])
    (found,) = read(text, stack=stack, files=files)
    assert found.reading.settings.layout == deployment.pools[0].layout
    expected = limits if stack != "mindie" else replace(limits, memory_share=None)  # it stands in the script
    assert found.reading.settings.limits == expected


# Compose


def spoken(service):
    """The words of a service as its shell sees them."""
    return shlex.split(service["command"][0].replace("$$", "$").replace("\\\n", ""))


def services(files):
    return {name: yaml.safe_load(text)["services"] for name, text in files.items() if name.endswith(".yaml")}


def test_replicas_share_a_node_and_have_devices_and_ports_of_their_own():
    (found,) = services(write(launch(aggregated("vllm")), "compose")).values()
    assert list(found) == ["serve-0", "serve-1", "serve-2"]
    ids = [one["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for one in found.values()]
    assert ids == [["0", "1"], ["2", "3"], ["4", "5"]]
    ports = [spoken(one)[-1] for one in found.values()]
    assert ports == ["8000", "8001", "8002"]


def test_replicas_that_do_not_fit_get_nodes_of_their_own():
    found = services(write(launch(aggregated("vllm", replicas=5)), "compose"))
    assert {name: len(one) for name, one in found.items()} == {"compose.node-0.yaml": 4, "compose.node-1.yaml": 1}
    assert spoken(found["compose.node-1.yaml"]["serve-4"])[-1] == "8000"


def test_prefill_and_decode_share_a_node_with_their_router():
    files = write(launch(apart("sglang", prefill=4, decode=8)), "compose")
    assert sorted(files) == ["compose.node-0.yaml", "compose.node-1.yaml", "compose.router.yaml"]
    first = services(files)["compose.node-0.yaml"]
    assert list(first) == ["prefill-0", "prefill-1"]
    words = [spoken(one) for one in first.values()]
    boots = [one[one.index("--disaggregation-bootstrap-port") + 1] for one in words]
    assert boots == ["8998", "8999"]
    routed = spoken(services(files)["compose.router.yaml"]["router"])
    assert [routed[at + 1 : at + 3] for at, word in enumerate(routed) if word == "--prefill"] == [
        ["http://node-0:8000", "8998"],
        ["http://node-0:8001", "8999"],
    ]


def test_an_engine_over_two_nodes_has_a_leader_and_followers():
    found = services(write(launch(apart("vllm")), "compose"))
    follower = found["compose.decode-follower.yaml"]["decode-follower"]
    assert "$$((NODE_RANK * 8))" in follower["command"][0]
    assert "--headless" in follower["command"][0]
    assert set(follower["environment"]) == {"HF_TOKEN", "LEADER", "NODE_RANK"}
    leader = found["compose.decode-leader.yaml"]["decode-leader"]
    assert "--headless" not in leader["command"][0]


def test_files_of_replicas_do_not_collide():
    files = write(launch(aggregated("mindie", "ascend-910b")), "compose")
    ports = [json.loads(files[f"serve-{at}.config.json"])["ServerConfig"]["port"] for at in range(3)]
    assert ports == [8000, 8001, 8002]
    mounted = yaml.safe_load(files["compose.yaml"])["services"]["serve-1"]["volumes"]
    assert any(one.startswith("./serve-1.config.json:") and one.endswith("/conf/config.json:ro") for one in mounted)


def test_ascend_devices_are_device_files():
    one = services(write(launch(aggregated("vllm-ascend", "ascend-910b")), "compose"))["compose.yaml"]["serve-1"]
    assert {"/dev/davinci2", "/dev/davinci3", "/dev/davinci_manager"} <= set(one["devices"])
    assert one["environment"]["ASCEND_RT_VISIBLE_DEVICES"] == "2,3"
    assert "deploy" not in one


def test_an_image_is_that_of_the_generation_or_the_one_given():
    deployment = aggregated("vllm-ascend", "ascend-910c")
    assert launch(deployment).engines[0].image.endswith("-a3")
    assert launch(deployment, image="mine:1").engines[0].image == "mine:1"


def test_attention_groups_of_several_nodes_are_counted_in_nodes():
    deployment = Deployment(R1, (Pool("gb200", layout=Layout(8, 1, 16, 2), stack="vllm"),))
    text = write(launch(deployment), "command")["serve-follower.sh"]
    assert '--nnodes 4 \\\n  --node-rank "$NODE_RANK"' in text
    assert '--data-parallel-address "$LEADER"' in text


# Kubernetes


def test_a_leader_worker_set_per_pool():
    found = documents(write(launch(apart("sglang")), "lws")["leaderworkerset.yaml"])
    sets = [one for one in found if one["kind"] == "LeaderWorkerSet"]
    sizes = [(one["spec"]["replicas"], one["spec"]["leaderWorkerTemplate"]["size"]) for one in sets]
    assert sizes == [(2, 1), (1, 2)]
    for one in sets:
        pod = one["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]["containers"][0]
        assert pod["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    follower = sets[1]["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]["containers"][0]["args"][0]
    assert '--node-rank "$LWS_WORKER_INDEX"' in follower
    assert '"$LWS_LEADER_ADDRESS:20000"' in follower
    kinds = {one["kind"] for one in found}
    assert kinds == {"LeaderWorkerSet", "Service", "Deployment"}


def test_options_files_are_config_maps():
    found = documents(write(launch(aggregated("trtllm"), [Limits(memory_share=0.8)]), "lws")["leaderworkerset.yaml"])
    (held,) = [one for one in found if one["kind"] == "ConfigMap"]
    assert yaml.safe_load(held["data"]["options.yaml"]) == {"kv_cache_config": {"free_gpu_memory_fraction": 0.8}}
    pod = found[0]["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]
    assert pod["volumes"][1]["configMap"]["name"] == held["metadata"]["name"]


def test_values_of_llm_d():
    text = write(launch(apart("vllm")), "llm-d")["values.yaml"]
    values = yaml.safe_load(text)
    assert "Untested" in text
    assert values["multinode"] is True
    assert values["decode"]["parallelism"] == {"tensor": 1, "data": 16, "dataLocal": 8, "workers": 2}
    assert values["prefill"]["replicas"] == 2
    assert "--port 8200" in values["decode"]["containers"][0]["args"][0]
    assert "--port 8000" in values["prefill"]["containers"][0]["args"][0]
    whole = yaml.safe_load(write(launch(aggregated("vllm")), "llm-d")["values.yaml"])
    assert whole["prefill"] == {"create": False, "replicas": 0}
    assert whole["routing"]["proxy"]["enabled"] is False


def test_a_dynamo_graph():
    graph = yaml.safe_load(write(launch(apart("vllm")), "dynamo")["dynamo.yaml"])
    frontend, prefill, decode = graph["spec"]["components"]
    assert (frontend["type"], prefill["type"], decode["type"]) == ("frontend", "prefill", "decode")
    assert (prefill["replicas"], decode["multinode"]) == (2, {"nodeCount": 2})
    words = decode["podTemplate"]["spec"]["containers"][0]["args"]
    assert words[words.index("--disaggregation-mode") + 1] == "decode"
    assert "--host" not in words


def test_a_dynamo_graph_of_tensorrt_llm():
    graph = yaml.safe_load(write(launch(apart("trtllm")), "dynamo")["dynamo.yaml"])
    words = graph["spec"]["components"][2]["podTemplate"]["spec"]["containers"][0]["args"]
    told = json.loads(words[words.index("--override-engine-args") + 1])
    assert told["enable_attention_dp"] is True
    assert words[words.index("--tensor-parallel-size") + 1] == "16"


# what cannot be launched


def test_tensorrt_llm_over_nodes_runs_under_slurm_only():
    files = write(launch(apart("trtllm")), "command")
    assert "srun -N 2 -n 16 --ntasks-per-node 8" in files["decode.sh"]
    assert yaml.safe_load(files["router.yaml"])["generation_servers"] == {"num_instances": 1, "urls": ["decode-0:8000"]}
    for form in ("compose", "lws"):
        with pytest.raises(LaunchError, match="MPI or Slurm"):
            write(launch(apart("trtllm")), form)


@pytest.mark.parametrize(
    ("pool", "says"),
    [
        (Pool("ascend-910c", layout=Layout(8)), "'cloudmatrix-infer' has no launch files"),
        (Pool("h200-sxm", layout=Layout(4, 1, 4, 2), stack="vllm"), "all 8 ranks of a stage or over none"),
        (Pool("h200-sxm", layout=Layout(2, 1, 8, 4), stack="trtllm"), "one copy of attention per rank"),
        (Pool("h200-sxm", layout=Layout(4, 3, 8, 2), stack="vllm"), "lie askew"),
        (Pool("ascend-910b", layout=Layout(8), stack="vllm-ascend", microbatches=2), "resets --enable-dbo"),
        (Pool("ascend-910b", "prefill", layout=Layout(8), stack="mindie"), "MindIE Motor"),
        (Pool("h200-sxm", layout=Layout(8), stack="sglang", precision=INT8_CACHE), "no KV cache in int8"),
    ],
)  # fmt: skip
def test_a_pool_without_words_is_refused(pool, says):
    with pytest.raises(LaunchError) as caught:
        write(launch(Deployment(R1, (pool,))), "command")
    assert says in str(caught.value)


def test_a_layout_that_does_not_divide_the_model_is_refused():
    with pytest.raises(LayoutError):
        launch(Deployment(QWEN, (Pool("h200-sxm", layout=Layout(3), stack="vllm"),)))


def test_a_model_without_draft_layers_needs_a_draft_model():
    drafting = Deployment(QWEN, (Pool("h200-sxm", layout=Layout(2), stack="vllm", speculation=Speculation(3, 0.6)),))
    with pytest.raises(LaunchError, match="--draft-model"):
        launch(drafting)
    text = write(launch(drafting, draft_model="org/eagle"), "command")["serve.sh"]
    assert '"model": "org/eagle"' in text


def test_pools_without_a_router_say_so():
    both = apart("vllm")
    mixed = replace(both, pools=(both.pools[0], replace(both.pools[1], stack="sglang")))
    for deployment in (both, mixed):
        assert "need a router" in write(launch(deployment), "command")["prefill.sh"]
    assert "not known" in write(launch(mixed), "command")["prefill.sh"]


def test_wide_expert_parallelism_names_the_backend_that_the_forecast_assumes():
    vllm = write(launch(apart("vllm")), "command")
    assert "--all2all-backend deepep_low_latency" in vllm["decode-leader.sh"]
    assert "--all2all-backend" not in vllm["prefill.sh"]
    assert "--moe-a2a-backend deepep" in write(launch(apart("sglang")), "command")["decode-leader.sh"]
    narrow = write(launch(apart("vllm", decode=8)), "command")["decode.sh"]
    assert "--all2all-backend" not in narrow


def test_an_unknown_format_names_the_nearest():
    with pytest.raises(LaunchError, match="Did you mean 'compose'"):
        write(launch(aggregated("vllm")), "composed")


def test_converted_weights_are_asked_for():
    text = write(launch(aggregated("vllm-ascend", "ascend-910b")), "command")["serve.sh"]
    assert "--quantization" not in text
    pools = (replace(aggregated("vllm-ascend", "ascend-910b").pools[0], precision=INT8),)
    text = write(launch(Deployment(QWEN, pools)), "command")["serve.sh"]
    assert "--quantization ascend" in text
    assert "ModelSlim" in text


# deployment files

TWO_POOLS = """
[deployment]
model = "deepseek-ai/DeepSeek-R1"
[[deployment.pools]]
chip = "h200-sxm"
role = "prefill"
replicas = 2
tp = 8
stack = "sglang"
[[deployment.pools]]
chip = "h200-sxm"
role = "decode"
attention_dp = 16
ep = 16
stack = "sglang"
max_sequences = 128
mtp_tokens = 1
kv_cache = "fp8"
"""


def test_a_deployment_is_read_from_a_scenario_file(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text('name = "evening"\nseed = 3\n' + TWO_POOLS)
    told = read_deployment(path)
    assert [pool.role for pool in told.deployment.pools] == ["prefill", "decode"]
    assert told.limits[1].max_sequences == 128
    text = write(launch(told.deployment, told.limits), "command")["decode-leader.sh"]
    assert "--max-running-requests 2048" in text
    assert "--kv-cache-dtype fp8_e4m3" in text


def test_a_deployment_file_with_a_typo_names_the_key(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(TWO_POOLS.replace("attention_dp", "attention_dpp"))
    with pytest.raises(InputError, match="attention_dp"):
        read_deployment(path)


# YAML and folders

printable = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Co", "Cn"])
awkward = (
    "yes", "no", "null", "1.5", "1e3", "0x10", "2026-01-01", "- a", "a: b", "#x", "a\nb\n", "a\n\nb", " a\nb", "a\n\n",
    "~", "12:30:45", "=", "<<", "---", "...", "-",
)  # fmt: skip
numbers = st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6) | st.sampled_from((1e-5, 1e30))
scalars = (
    st.none() | st.booleans() | numbers | st.text(printable | st.just("\n"), max_size=20) | st.sampled_from(awkward)
)
names = st.sampled_from(("a", "b.c/d", "on", "1", "x y"))
plain = st.recursive(
    scalars, lambda below: st.lists(below, max_size=4) | st.dictionaries(names, below, max_size=4), max_leaves=12
)


@given(plain)
def test_yaml_is_read_back(value):
    back = yaml.safe_load(own_yaml.dump(value))
    assert back == value or (back != back and value != value)


def test_text_of_several_lines_stays_readable():
    assert own_yaml.dump({"args": ["a \\\n  b\n"]}) == "args:\n  - |\n    a \\\n      b\n"


def test_a_folder_is_written_whole(tmp_path):
    files = {"a.sh": "#!/bin/sh\n", "b.yaml": "x: 1\n"}
    paths = write_folder(files, tmp_path / "new" / "folder")
    assert {path.name: path.read_text() for path in paths} == files
    assert paths[0].stat().st_mode & 0o111
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["a.sh", "b.yaml"]


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path):
    (tmp_path / "b.yaml").write_text("mine")
    files = {"a.sh": "1", "b.yaml": "2"}
    with pytest.raises(InputError, match="--overwrite"):
        write_folder(files, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["b.yaml"]
    write_folder(files, tmp_path, overwrite=True)
    assert (tmp_path / "b.yaml").read_text() == "2"


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(self: Path, text: str, **more: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="No space left"):
        write_folder({"a.sh": "1"}, tmp_path)
    assert list(tmp_path.iterdir()) == []
