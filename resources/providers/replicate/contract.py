"""Replicate's contract: what it offers, and its answers as its pages document them.

Sources, and how far each is believed: **A** is Replicate's documentation or its OpenAPI document, **B** a third party, **C** concluded. No call was
measured.

| fact | source | grade |
|---|---|---|
| create, get, list and cancel predictions; the prediction object | Replicate docs: HTTP API; its OpenAPI document | A |
| no idempotency key | absent from the OpenAPI document, whose bodies take no unknown field | A |
| the list shows every prediction of the account from its creation, with its input | Replicate docs: HTTP API | A |
| `Cancel-After`, and the state `aborted` | Replicate docs: create a prediction, lifecycle | A |
| a file is uploaded as a form, up to 100 MB, and its address is an input; data URLs are for small ones | Replicate docs: input files; its `replicate` client: `files.create` | A |
| inputs, outputs and files are deleted an hour after the end | Replicate docs: data retention | A |
| no price and no bill in the API | absent from the OpenAPI document | A |
| a failed prediction of an official video model is not charged, a canceled one is until then | Replicate docs: billing, changelog | A, B |
| Standard Webhooks, and their secret | Replicate docs: webhooks | A |
| the statuses of refusals | Replicate docs: HTTP API; 402 from a third party's logs | A, C |
| a list shows a prediction within two minutes of its creation | concluded: rows exist from creation | C |
"""

from resources.providers.provider import Capabilities
from resources.providers.spec import ContractNotes, DocumentedWire
from resources.providers.wire_fields import FLAG, LIST, OBJECT, TEXT

CANCEL_AFTER = "60m"
"""How long after its creation a prediction is given up, waiting or running, by `Cancel-After`."""

CAPABILITIES = Capabilities(
    echoes_submission_id=False,
    echoes_input=True,
    output_seconds=3_600,
    settle_seconds=120,
    propagation_seconds=60,
    bills_jobs=False,
    # how long an unused file is kept is not stated, and one that was used goes an hour after its prediction's end
    upload_seconds=1_800,
)

_PREDICTION = {
    "id": TEXT,
    "model": TEXT,
    "version?": TEXT,
    "input": OBJECT,
    "status": TEXT,
    "created_at": TEXT,
    "started_at?": TEXT,
    "completed_at?": TEXT,
    "deadline?": TEXT,
    "error?": TEXT,
    "logs?": TEXT,
    "output?": TEXT,
    "data_removed?": FLAG,
    "metrics?": OBJECT,
    "urls": OBJECT,
    "urls.get": TEXT,
    "urls.cancel": TEXT,
    "urls.web?": TEXT,
    "source?": TEXT,
}

NOTES = ContractNotes(
    window="not stated; inputs for an hour after the end",
    cancel="yes; a running job is charged until then",
    remains="a seed identifies the job on any key, if the listing is read within an hour after the job's end; if the model takes no seed, equal "
    "POSTs of the same time are held, and on a shared key every lost POST",
    grades={
        "echo": "A",
        "listing": "A",
        "input": "A",
        "running": "A",
        "window": "A",
        "bill": "A",
        "callbacks": "A",
        "retention": "A",
        "cancel": "A",
        "key": "A",
    },
)

DOCUMENTED = DocumentedWire(
    calls=(
        (r"GET /v1/predictions", "list"),
        (r"GET /v1/predictions/[^/]+", "result"),
        (r"POST /v1/models/[^/]+/[^/]+/predictions", "submit"),
        (r"GET /v1/account", "balance"),
        (r"GET /v1/collections/[^/]+", "models"),
    ),
    fields={
        "submit": _PREDICTION,
        "result": _PREDICTION,
        "list": {
            "next?": TEXT,
            "previous?": TEXT,
            "results": LIST,
            "results[].id": TEXT,
            "results[].model": TEXT,
            "results[].input": OBJECT,
            "results[].status": TEXT,
            "results[].created_at": TEXT,
            "results[].data_removed?": FLAG,
        },
        "balance": {"type": TEXT, "username": TEXT, "name?": TEXT},
    },
    statuses=frozenset({"starting", "processing", "succeeded", "failed", "canceled", "aborted"}),
)
