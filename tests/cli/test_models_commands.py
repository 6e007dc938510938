"""`dailies models` and `dailies verify-provider`, as a person types them, at a sandbox and at a service that deviates from its documentation."""

import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from pipelines.cli.app import app
from resources.catalogue import Catalogue, catalogue
from resources.errors import ConfigurationError, UnavailableError
from resources.ledger.states import AttemptState
from resources.money import usd
from resources.providers.base import FailureKind
from resources.sandbox import RunningSandbox, SandboxSettings, running_sandbox
from resources.settings import load_settings, open_ledger
from resources.verification import probe

DATA = Path(__file__).parents[2] / "data"
SEEDANCE = "bytedance/seedance-2.0/text-to-video"
KEY = "the-key-of-an-account"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DAILIES_LEDGER_URL", "DAILIES_MAX_USD_PER_RUN", "DAILIES_S3_BUCKET", "AIMLAPI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("DAILIES_HOME", str(tmp_path / "home"))
    shutil.copytree(DATA / "models", tmp_path / "data" / "models")
    monkeypatch.setenv("DAILIES_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(probe, "FIRST_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(probe, "LONGEST_LOOK_SECONDS", 0.2)
    return tmp_path


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox(SandboxSettings(job_seconds=0.1, key=KEY)) as running:
        yield running


@pytest.fixture
def _keys(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    httpx.delete(f"{sandbox.url}/admin/faults")
    at(monkeypatch, sandbox.url)


def at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("WAVESPEED", "AIMLAPI"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
        monkeypatch.setenv(f"DAILIES_{name}_URL", url)
    monkeypatch.setenv("DAILIES_ALLOWED_ORIGINS", url)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def fault(sandbox: RunningSandbox, operation: str, **effect: Any) -> None:
    rule = {"name": "test", "when": {"operation": operation}, "then": effect}
    assert httpx.post(f"{sandbox.url}/admin/faults", json={"faults": [rule]}).status_code == 200


def jobs(sandbox: RunningSandbox) -> int:
    return len(httpx.get(f"{sandbox.url}/admin/books").json()["jobs"])


def test_models_lists_what_can_be_bought_and_needs_no_key():
    listed = run("models")
    assert listed.exit_code == 0
    assert SEEDANCE in listed.output
    documents = json.loads(run("models", "--json", "--provider", "wavespeed").stdout)
    by_id = {document["id"]: document for document in documents}
    assert by_id[SEEDANCE]["retired"] is False
    assert by_id[SEEDANCE]["default_price_usd"] == "1.2"
    assert by_id["openai/sora-2"]["default_price_usd"] is None
    assert "use 'bytedance" in by_id["openai/sora-2/text-to-video"]["warning"]
    assert "auto, 4 to 15" in run("models", "--provider", "fal", "--long").output
    shown = run("models", "show", "openai/sora-2-pro/text-to-video").output
    assert "1080*1920" in shown
    assert "aspect_ratio" in shown


@pytest.mark.slow
@pytest.mark.usefixtures("_keys")
def test_check_finds_nothing_until_a_model_changes(home):
    assert run("models", "check").exit_code == 0
    entry = home / "data" / "models" / "wavespeed-seedance-2.0-text-to-video.yaml"
    entry.write_text(entry.read_text().replace('{720p: "0.24"}', '{720p: "0.20"}'))
    drifted = run("models", "check", "--json")
    assert drifted.exit_code == 1
    (found,) = [d for d in json.loads(drifted.stdout)["drifts"] if d["matters"]]
    assert (found["endpoint"], found["ours"], found["theirs"]) == (SEEDANCE, "$1.00", "$1.20")


@pytest.mark.usefixtures("_keys")
def test_a_model_is_added_without_code(home, sandbox, monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, "models_beside", lambda _data: tmp_path / "no-entries-of-the-program")
    entry = home / "data" / "models" / "wavespeed-seedance-2.0-text-to-video.yaml"
    entry.unlink()
    # other entries name it as their replacement
    assert run("models", "add", "wavespeed", SEEDANCE).exit_code == 0
    sold = Catalogue.load(home / "data" / "models")
    assert sold.problems == []
    assert sold.get(SEEDANCE).resolve("x", {"duration": 4})["resolution"] == "720p"
    again = run("models", "add", "wavespeed", SEEDANCE)
    assert isinstance(again.exception, ConfigurationError)
    assert "has an entry already" in str(again.exception)
    unknown = run("models", "add", "wavespeed", "bytedance/seedance-2.0/text-to-vide", "--to", "-")
    assert f"did you mean '{SEEDANCE}'" in str(unknown.exception)
    assert jobs(sandbox) == 0


@pytest.mark.usefixtures("_keys")
def test_a_second_entry_for_an_endpoint_is_refused_whatever_the_file_is_called(home):
    folder = home / "data" / "models"
    before = sorted(folder.iterdir())
    for words in ((), ("--to", str(folder / "another.yaml"))):
        asked = run("models", "add", "wavespeed", SEEDANCE, *words)
        assert isinstance(asked.exception, ConfigurationError)
        assert f"{SEEDANCE} of wavespeed has an entry already" in str(asked.exception)
    assert sorted(folder.iterdir()) == before
    drafted = run("models", "add", "wavespeed", SEEDANCE, "--to", "-")
    assert drafted.exit_code == 0
    assert f'id: "{SEEDANCE}"' in drafted.stdout


@pytest.mark.parametrize("words", [("models",), ("models", "check")])
def test_an_unknown_provider_is_an_error_and_no_empty_list(words):
    asked = run(*words, "--provider", "wavespeedai")
    assert isinstance(asked.exception, ConfigurationError)
    assert "allowed: wavespeed, aimlapi" in str(asked.exception)


def test_one_endpoint_is_shown_with_its_usual_duration_and_as_json():
    assert "takes    usually 141 s" in run("models", "show", "openai/sora-2/text-to-video").stdout
    assert "takes" not in run("models", "show", "openai/sora-2/characters").stdout
    one = json.loads(run("models", "show", SEEDANCE, "--json").stdout)
    assert (one["id"], one["default_price_usd"], one["retired"]) == (SEEDANCE, "1.2", False)


@pytest.mark.parametrize(
    "words", [("models", "check"), ("models", "add", "wavespeed", "a/b"), ("verify-provider", "wavespeed")]
)
def test_the_error_without_a_key_names_the_variable(words, monkeypatch):
    monkeypatch.delenv("WAVESPEED_API_KEY", raising=False)
    asked = run(*words)
    assert isinstance(asked.exception, ConfigurationError)
    assert "WAVESPEED_API_KEY" in str(asked.exception)


@pytest.mark.slow
@pytest.mark.usefixtures("_keys")
@pytest.mark.parametrize(("account", "price"), [("wavespeed", "0.96"), ("aimlapi", "0.282")])
def test_a_service_that_matches_its_documentation_is_reported_so_and_booked(sandbox, account, price):
    before = jobs(sandbox)
    verified = run("verify-provider", account, "--yes", "--json", "--settle", "5")
    assert verified.exit_code == 0, verified.output
    report = json.loads(verified.stdout)
    assert jobs(sandbox) == before + 1
    assert report["differs"] is False
    assert (report["price_usd"], report["charged_usd"], report["state"]) == (price, price, "delivered")
    assert report["states"][-1]["state"] == "completed"
    assert report["listed_after_seconds"] is not None
    assert report["billed_after_seconds"] is not None
    assert not [f for f in report["findings"] if f["verdict"] == "differs"]
    assert KEY not in verified.output
    with open_ledger(load_settings()) as ledger:
        (attempt,) = ledger.overview(kind="probe")
        assert (attempt.state, attempt.charged_micros) == (AttemptState.DELIVERED, usd(price))
        assert ledger.overview() == []


@pytest.mark.usefixtures("_keys")
def test_nothing_is_bought_before_a_person_agrees(sandbox):
    before = jobs(sandbox)
    refused = CliRunner().invoke(app, ["verify-provider", "wavespeed"], input="n\n")
    assert refused.exit_code == 2
    assert "for $0.96, and without a terminal nobody can be asked. Add --yes." in refused.output
    assert jobs(sandbox) == before
    with open_ledger(load_settings()) as ledger:
        assert ledger.overview(kind="probe") == []


@pytest.mark.slow
@pytest.mark.usefixtures("_keys")
@pytest.mark.parametrize(
    ("operation", "effect", "about", "seen"),
    [
        (
            "submit",
            {"do": "substitute", "model": "openai/sora-2-pro/text-to-video"},
            "the model that served",
            "sora-2-pro",
        ),
        ("submit", {"do": "fail", "error": "worker died"}, "the job's end", "failed: worker died"),
        ("submit", {"do": "wrong_size", "width": 320, "height": 180}, "the frame", "320x180"),
        (
            "list",
            {"do": "reject", "status": 404, "body": {"error": "no such call"}},
            "list: status",
            "HTTP 404",
        ),
        ("billing", {"do": "garbage", "text": "<html>"}, "bill: body", "cannot be read"),
    ],
)
def test_deviations_of_a_service_are_reported(sandbox, operation, effect, about, seen):
    # an endpoint whose page states the frame
    fault(sandbox, operation, **effect)
    words = (
        "--endpoint",
        "openai/sora-2/text-to-video",
        "--allow-retired",
        "--yes",
        "--json",
        "--settle",
        "0.3",
    )
    verified = run("verify-provider", "wavespeed", *words)
    assert verified.exit_code == 1, verified.output
    found = [f for f in json.loads(verified.stdout)["findings"] if f["verdict"] == "differs"]
    assert any(f["about"] == about and seen in f["seen"] for f in found), found


@pytest.mark.slow
@pytest.mark.usefixtures("_keys")
def test_a_job_that_never_ends_is_left_to_the_ledger(sandbox):
    fault(sandbox, "submit", do="stuck")
    verified = run("verify-provider", "wavespeed", "--yes", "--json", "--wait", "1", "--settle", "0")
    assert verified.exit_code == 1
    report = json.loads(verified.stdout)
    assert report["state"] == "submitted"
    assert any("has not ended" in f["seen"] for f in report["findings"])


@pytest.mark.slow
@pytest.mark.usefixtures("_keys")
def test_a_lost_answer_is_found_again_and_not_bought_twice(sandbox):
    before = jobs(sandbox)
    rule = {"name": "t", "when": {"operation": "submit", "times": 1}, "then": {"do": "lose_answer"}}
    httpx.post(f"{sandbox.url}/admin/faults", json={"faults": [rule]})
    verified = run("verify-provider", "aimlapi", "--yes", "--json", "--settle", "2")
    assert jobs(sandbox) == before + 1
    assert json.loads(verified.stdout)["state"] == "delivered", verified.output


@pytest.mark.usefixtures("_keys")
def test_a_cap_holds_for_a_probe_too(sandbox, monkeypatch):
    monkeypatch.setenv("DAILIES_MAX_USD_PER_RUN", "0.50")
    before = jobs(sandbox)
    capped = run("verify-provider", "wavespeed", "--yes")
    assert isinstance(capped.exception, ConfigurationError)
    assert "Nothing was bought" in str(capped.exception)
    assert jobs(sandbox) == before


class OddService(BaseHTTPRequestHandler):
    """Speaks almost like WaveSpeed: other statuses, another price, missing fields, and no bill."""

    submitted = 0

    def _answer(self, data: Any, status: int = 200) -> None:
        body = json.dumps({"code": status, "message": "success", "data": data}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-RateLimit-Remaining", "3")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/api/v3/balance":
            self._answer({"balance": "12.5", "currency": "USD"})
        elif "/predictions/" in self.path:
            job = {"id": "odd-1", "model": SEEDANCE, "status": "Finalizing", "outputs": None, "cost": 1.5}
            self._answer(job)
        else:
            self._answer(None, 404)

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        self.rfile.read(length)
        if self.path == "/api/v3/model/price":
            self._answer({"price": 2.5, "currency": "USD"})
        elif self.path.endswith("text-to-video"):
            type(self).submitted += 1
            self._answer({"id": "odd-1", "status": "accepted", "echo": self.headers["authorization"]})
        else:
            self._answer(None, 404)

    def log_message(self, *_: Any) -> None: ...


@pytest.mark.slow
def test_an_undocumented_service_is_described_as_it_is(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), OddService)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        at(monkeypatch, f"http://127.0.0.1:{server.server_port}")
        verified = run("verify-provider", "wavespeed", "--yes", "--json", "--wait", "1", "--settle", "0")
    finally:
        server.shutdown()
        server.server_close()
    assert verified.exit_code == 1, verified.output
    assert OddService.submitted == 1
    assert KEY not in verified.output
    report = json.loads(verified.stdout)
    assert report["price_usd"] == "2.5"  # its quote is above the page's price, and the quote is reserved
    seen = {f["about"]: (f["verdict"], f["seen"]) for f in report["findings"]}
    assert seen["balance: data.balance"] == ("differs", "text")
    assert seen["balance: data.currency"] == ("new", "text")
    assert seen["submit: data.model"] == ("differs", "missing")
    assert seen["state 'accepted'"][0] == "differs"
    assert seen["state 'Finalizing'"][0] == "differs"
    assert seen["result: data.cost"] == ("new", "a number")
    assert seen["result: data.outputs"][0] == "differs"
    assert seen["the quote"] == ("differs", "$2.50")
    assert seen["models: status"] == ("differs", "HTTP 404")
    assert seen["list: status"] == ("differs", "HTTP 404")
    assert seen["bill: status"] == ("differs", "HTTP 404")
    assert seen["header x-ratelimit-remaining"] == ("new", "3")
    assert seen["the listing"][0] == "not seen"


def test_a_provider_that_does_not_answer_gives_no_report(monkeypatch):
    at(monkeypatch, "http://127.0.0.1:9")
    for words in (("models", "check", "--provider", "wavespeed"),):
        assert isinstance(run(*words).exception, UnavailableError)
    verified = run("verify-provider", "wavespeed", "--yes", "--json")
    assert verified.exit_code == 1
    assert any(
        "submit" in f["about"] and f["verdict"] == "differs" for f in json.loads(verified.stdout)["findings"]
    )
    with open_ledger(load_settings()) as ledger:
        (attempt,) = ledger.overview(kind="probe")
        assert attempt.job_id is None
        assert attempt.cost_micros == 0 or attempt.reason_kind is FailureKind.PROVIDER
