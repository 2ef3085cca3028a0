"""Loading checkpoints from folders, GGUF files, caches and hubs, and what is said when that fails."""

import json
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
import torch
from transformers import AutoModelForCausalLM

from ppl_scaling import backends
from ppl_scaling.backends import TransformersLanguageModel
from ppl_scaling.backends.hub import find_on_hub
from ppl_scaling.backends.loading import load_checkpoint
from ppl_scaling.errors import BackendError
from ppl_scaling.interfaces import PAD
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH
from ppl_scaling.token_law import TokenLaw

FOLDER = str(LANGUAGE_MODEL_PATH)


def load(name=FOLDER, **arguments):
    return load_checkpoint(AutoModelForCausalLM, name, **arguments)


ANSWERS = {
    "gated": (403, "GatedRepo"),
    "unknown": (401, "RepoNotFound"),
    "other-revision": (404, "RevisionNotFound"),
    "other-files": (404, "EntryNotFound"),
    "troubled": (503, ""),
    "fine": (200, ""),
}


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does, by the owner's name in the address: ``/<owner>/<name>/resolve/<revision>/<file>``."""

    def do_HEAD(self):
        status, code = ANSWERS[self.path.split("/")[1]]
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.end_headers()

    def log_message(self, *_):
        pass


def point_to(monkeypatch, tmp_path, endpoint):
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine, and an empty cache."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    point_to(monkeypatch, tmp_path, f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """A hub at a port where nobody listens, and an empty cache, whose folder is returned."""
    point_to(monkeypatch, tmp_path, "http://127.0.0.1:9")
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("gated/model", {}, "access to the model 'gated/model' is restricted: accept its terms at https"),
        ("unknown/model", {}, "no folder 'unknown/model' here and no public model of that name on the hub"),
        ("other-revision/model", {"revision": "v9"}, "'other-revision/model' on the hub has no revision 'v9'"),
        ("other-files/model", {}, "has no file 'config.json'; if it holds GGUF files, name one with gguf_file"),
        ("other-files/model", {"gguf_file": "a.gguf", "revision": "v1"}, "at revision 'v1' has no file 'a.gguf'$"),
        ("troubled/model", {}, "the hub cannot be reached .* is not in the local cache"),
        ("no such name", {}, "a hub name such as 'owner/name', got 'no such name'"),
    ],
)
def test_what_the_hub_says_is_one_clear_line(hub, name, arguments, message):
    with pytest.raises(BackendError, match=message) as raised:
        load(name, **arguments)
    assert "\n" not in str(raised.value)


def test_a_model_that_the_hub_has_is_found(hub):
    assert find_on_hub("fine/model", "config.json", revision="v1")


def test_without_a_network_a_missing_model_is_reported_at_once(no_network):
    began = time.monotonic()
    with pytest.raises(
        BackendError, match=r"the hub cannot be reached \(ConnectError\), and the model is not in the local cache"
    ):
        load("owner/name")
    assert time.monotonic() - began < 10, "the loaders' own retries take most of a minute"


def test_without_a_network_a_cached_model_loads(no_network):
    repository = no_network / "models--owner--name"
    shutil.copytree(FOLDER, repository / "snapshots" / "0123abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    model, tokenizer = load("owner/name")
    assert model.config.num_hidden_layers == 4 and tokenizer.chat_template
    with pytest.raises(BackendError, match="the model at revision 'v2' is not in the local cache"):
        load("owner/name", revision="v2")


def test_code_of_a_checkpoint_is_run_only_if_asked_for(tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(FOLDER, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "made-up", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise RuntimeError('the code ran')")
    with pytest.raises(BackendError, match=r"needs Python code of its own; .* trust_remote_code=True"):
        load(str(folder))


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"device": "cpu", "device_map": "auto"}, ValueError, "device or device_map, got both: 'cpu' and 'auto'"),
        ({"device_map": "cuda"}, ValueError, "a device_map among auto, .* got 'cuda'; a single device goes to device"),
        ({"device": "abacus"}, ValueError, "a device such as"),
        ({"dtype": "int8"}, ValueError, "a dtype such as"),
        ({"dtype": torch.int8}, ValueError, "a dtype such as"),
        ({"gguf_file": "a.gguf"}, BackendError, "which has no a.gguf"),
        (
            {"name": "/no/such/file.gguf"},
            BackendError,
            "expected a GGUF file, got '/no/such/file.gguf', which does not exist",
        ),
        ({"name": "a.gguf", "gguf_file": "b.gguf"}, ValueError, "either the path of a GGUF file or gguf_file, got 'a.gguf'"),
        ({"name": __file__}, BackendError, "or a file that ends in .gguf, got the file"),
    ],
)
def test_mistakes(arguments, kind, message):
    with pytest.raises(kind, match=message):
        load(**arguments)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "which has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot load"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 100), "cannot load"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot load"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "cannot load"),
    ],
    ids=["no config", "broken config", "broken weights", "no weights", "no tokenizer"],
)
def test_a_broken_checkpoint_folder(tmp_path, spoil, message):
    folder = shutil.copytree(FOLDER, tmp_path / "checkpoint")
    spoil(folder)
    with pytest.raises(BackendError, match=message):
        load(str(folder))


def test_a_folder_of_gguf_files_says_how_to_name_one(tmp_path):
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    with pytest.raises(BackendError, match=r"has no config.json; for its GGUF file give '.*small\.gguf'"):
        load(str(tmp_path))
    with pytest.raises(BackendError, match=r"cannot load '.*small\.gguf' as AutoModelForCausalLM"):
        load(str(tmp_path / "small.gguf"))


@pytest.mark.parametrize(
    ("package", "arguments", "message"),
    [
        ("gguf", {"gguf_file": "a.gguf"}, r"a GGUF file needs the package gguf: pip install gguf accelerate"),
        (
            "accelerate",
            {"gguf_file": "a.gguf"},
            r"a GGUF file needs the package accelerate: pip install gguf accelerate",
        ),
        ("accelerate", {"device_map": "auto"}, r"a device_map needs the package accelerate: pip install accelerate"),
    ],
)
def test_optional_packages_are_named(monkeypatch, package, arguments, message):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendError, match=message):
        load(**arguments)


def test_tables_and_boundaries_need_no_transformers():
    code = "import sys, ppl_scaling.backends; print('transformers' in sys.modules, hasattr(ppl_scaling.backends, 'absent'))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False False\n"
    assert set(backends.__all__) <= set(dir(backends)) and all(hasattr(backends, name) for name in backends.__all__)


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="got 'cuda:2' where torch sees 2 GPUs"):
        load(device="cuda:2")


def test_dtype_and_device():
    model, _ = load(dtype=torch.bfloat16, device=torch.device("cpu"))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert not model.training


def test_an_architecture_without_pytorchs_attention_takes_the_plain_one():
    class Picky:
        @staticmethod
        def from_pretrained(name, attn_implementation, **arguments):
            if attn_implementation == "sdpa":
                raise ValueError("it has no torch.nn.functional.scaled_dot_product_attention yet")
            return AutoModelForCausalLM.from_pretrained(name, attn_implementation=attn_implementation, **arguments)

    model, _ = load_checkpoint(Picky, FOLDER)
    assert model.config._attn_implementation == "eager"


SPLIT = {"model.embed_tokens": "cpu", "lm_head": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu"}
SPLIT |= {f"model.layers.{layer}": "disk" if layer % 2 else "cpu" for layer in range(4)}


@pytest.mark.parametrize("device_map", [SPLIT, "auto"], ids=["split", "auto"])
def test_a_dispatched_model_gives_the_same_log_probabilities(device_map):
    plain = TransformersLanguageModel(*load(device="cpu"))
    spread = TransformersLanguageModel(*load(device_map=device_map))
    first = torch.tensor([[20, 30, 40], [21, 31, 41], [22, 32, PAD], [23, 33, 43], [24, PAD, PAD], [25, 35, 45]])
    second = torch.tensor([[50, 60], [51, 61], [52, PAD], [53, 63]])
    found = []
    for language_model in (plain, spread):
        session = language_model.start(["Mia has 3 pens.", "Bo has 12 eggs."], 3, max_step_tokens=8, max_tokens=None)
        session.select(torch.arange(6))
        log_probs = [session.log_prob(first, TokenLaw(torch.ones(6)))]
        session.accept(first, last_step=False)
        session.select(torch.tensor([2, 2, 0, 5]))
        log_probs.append(session.log_prob(second, TokenLaw(torch.ones(4))))
        found.append(torch.cat(log_probs))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-4)


def test_embeddings_must_not_be_left_on_disk():
    with pytest.raises(BackendError, match="keeps the input embeddings on a device, got one with them on disk"):
        load(device_map={"": "disk"})


def test_a_real_gguf_file(smollm2_path):
    model, tokenizer = load(str(smollm2_path), device="cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert tokenizer.eos_token == "<|im_end|>" and model.generation_config.eos_token_id == tokenizer.eos_token_id == 2
    language_model = TransformersLanguageModel(model, tokenizer, boundary=12)
    assert language_model.end_tokens == {2}
    session = language_model.start(["What is the capital of France?"], 4, max_step_tokens=40, max_tokens=None)
    session.select(torch.arange(4))
    torch.manual_seed(0)
    texts = session.decode(session.sample(TokenLaw(torch.full((4,), 0.1))))
    assert all("Paris" in text for text in texts), texts
