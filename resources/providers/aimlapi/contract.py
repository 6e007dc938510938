"""AI/ML API's contract: what it offers, and its answers as its pages document them (AI/ML API contract, sections 2.1 to 2.5)."""

from resources.providers.provider import Capabilities
from resources.providers.spec import ContractNotes, DocumentedWire
from resources.providers.wire_fields import FLAG, LIST, NUMBER, OBJECT, TEXT

CAPABILITIES = Capabilities(
    echoes_submission_id=True,
    output_seconds=None,
    # the logs come from an analytics pipeline; its delay is not documented
    settle_seconds=600,
    propagation_seconds=60,
    # not documented either way (AI/ML API contract, section 2.5)
    lists_running=False,
)

NOTES = ContractNotes(
    # AI/ML API contract, sections 2.1 and 2.5
    window="92 days",
    cancel="no",
    remains="the logs may not show running jobs, so a miss counts only after the longest job",
    grades={
        "echo": "A",
        "listing": "A",
        "running": "C",
        "window": "A",
        "bill": "A",
        "callbacks": "A",
        "retention": "A",
        "cancel": "A",
        "key": "A",
    },
)

_GENERATION = {
    "id": TEXT,
    "status": TEXT,
    "model?": TEXT,
    "video?": OBJECT,
    "video.url?": TEXT,
    "error?": OBJECT,
    "meta?": OBJECT,
    "meta.usage?": OBJECT,
    "meta.usage.credits_used?": NUMBER,
}

DOCUMENTED = DocumentedWire(
    calls=(
        (r"POST /v2/video/generations", "submit"),
        (r"GET /v2/video/generations", "result"),
        (r"GET /v2/logs", "list"),
        (r"GET /v2/billing", "balance"),
        (r"GET /v1/models", "models"),
    ),
    fields={
        "submit": _GENERATION,
        "result": _GENERATION,
        "list": {
            "data": LIST,
            "data[].created": TEXT,
            "data[].status": TEXT,
            "data[].origin?": TEXT,
            "data[].model": TEXT,
            "data[].cost": OBJECT,
            "data[].cost.usd": NUMBER,
            "data[].cost.credits?": NUMBER,
            "data[].tokens?": OBJECT,
            "data[].tokens.input?": NUMBER,
            "data[].tokens.output?": NUMBER,
            "data[].tokens.total?": NUMBER,
            "data[].request_id?": TEXT,
            "data[].inference_id": TEXT,
            "data[].client_request_id": TEXT,
            "pagination": OBJECT,
            "pagination.limit?": NUMBER,
            "pagination.offset?": NUMBER,
            "pagination.total?": NUMBER,
            "pagination.has_more": FLAG,
        },
        "models": {
            "object?": TEXT,
            "data": LIST,
            "data[].id": TEXT,
            "data[].aliases?": LIST,
            "data[].type?": TEXT,
            "data[].info?": OBJECT,
            "data[].tags?": LIST,
            "data[].pricing?": OBJECT,
        },
        "balance": {"current_balance": NUMBER, "currency?": TEXT},
    },
    statuses=frozenset({"queued", "generating", "completed", "error"}),
    headers=frozenset(
        {"x-inference-id", "x-client-request-id", "x-aimlapi-usd-spent", "x-aimlapi-credits-used"}
    ),
)
