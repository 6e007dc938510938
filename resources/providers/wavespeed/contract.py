"""WaveSpeed's contract: what it offers, and its answers as its pages document them (WaveSpeed contract, sections 1.1 to 1.10)."""

from resources.providers.provider import Capabilities
from resources.providers.spec import ContractNotes, DocumentedWire
from resources.providers.wire_fields import LIST, NUMBER, OBJECT, TEXT

CAPABILITIES = Capabilities(
    echoes_submission_id=False,
    output_seconds=7 * 86_400,
    # not documented; the listing shows the live table, so two minutes are generous
    settle_seconds=120,
    propagation_seconds=60,
    refunds_failures=True,
    # files are kept for 7 days; WaveSpeed's own agent reuses an address for one day (WaveSpeed docs: upload-files)
    upload_seconds=24 * 3600,
)

NOTES = ContractNotes(
    # WaveSpeed contract, sections 1.7, 1.8, 1.9, 1.12 and 1.14
    window="7 days",
    cancel="no",
    remains="the listing shows no reliable request, so only the time distinguishes equal POSTs",
    grades={
        "echo": "A",
        "listing": "A",
        "running": "B",
        "window": "B",
        "bill": "A",
        "callbacks": "A",
        "retention": "A",
        "cancel": "A",
        "key": "A",
    },
)

_PREDICTION = {
    "code": NUMBER,
    "message": TEXT,
    "data.id": TEXT,
    "data.model": TEXT,
    "data.outputs": LIST,
    "data.urls": OBJECT,
    "data.urls.get": TEXT,
    "data.has_nsfw_contents?": LIST,
    "data.status": TEXT,
    "data.created_at": TEXT,
    "data.error": TEXT,
    "data.code?": NUMBER,
    "data.timings": OBJECT,
    "data.timings.inference": NUMBER,
    "data.executionTime?": NUMBER,
    "data.input?": OBJECT,
}

DOCUMENTED = DocumentedWire(
    calls=(
        (r"GET /api/v3/predictions/[^/]+(/result)?", "result"),
        (r"POST /api/v3/predictions", "list"),
        (r"GET /api/v3/balance", "balance"),
        (r"POST /api/v3/model/price", "price"),
        (r"POST /api/v3/billings/search", "bill"),
        (r"GET /api/v3/models", "models"),
        (r"POST /api/v3/(?!media/|webhook/).+", "submit"),
    ),
    fields={
        "submit": _PREDICTION,
        "result": _PREDICTION,
        "list": {
            "code": NUMBER,
            "message": TEXT,
            "data.page": NUMBER,
            "data.total?": NUMBER,
            "data.items": LIST,
            "data.items[].id": TEXT,
            "data.items[].model": TEXT,
            "data.items[].outputs": LIST,
            "data.items[].urls": OBJECT,
            "data.items[].urls.get?": TEXT,
            "data.items[].status": TEXT,
            "data.items[].created_at": TEXT,
            "data.items[].error": TEXT,
            "data.items[].code?": NUMBER,
            "data.items[].has_nsfw_contents?": LIST,
            "data.items[].executionTime?": NUMBER,
            "data.items[].timings?": OBJECT,
            "data.items[].timings.inference?": NUMBER,
        },
        "balance": {"code": NUMBER, "message": TEXT, "data.balance": NUMBER},
        "price": {
            "code": NUMBER,
            "message": TEXT,
            "data.model_id": TEXT,
            "data.price": NUMBER,
            "data.discounted_price": NUMBER,
            "data.discount_rate": NUMBER,
            "data.currency": TEXT,
        },
        "models": {
            "code?": NUMBER,
            "message?": TEXT,
            "data": LIST,
            "data[].model_id": TEXT,
            "data[].name?": TEXT,
            "data[].base_price": NUMBER,
            "data[].description?": TEXT,
            "data[].type": TEXT,
            "data[].sort_order?": NUMBER,
            "data[].formula?": TEXT,
            "data[].api_schema": OBJECT,
        },
        "bill": {
            "code": NUMBER,
            "message": TEXT,
            "data.page?": NUMBER,
            "data.total?": NUMBER,
            "data.items": LIST,
            "data.items[].uuid": TEXT,
            "data.items[].billing_type": TEXT,
            "data.items[].price": NUMBER,
            "data.items[].created_at": TEXT,
            "data.items[].updated_at?": TEXT,
            "data.items[].order": OBJECT,
            "data.items[].order.uuid?": TEXT,
            "data.items[].order.state": TEXT,
            "data.items[].order.price": NUMBER,
            "data.items[].order.origin_price?": NUMBER,
            "data.items[].prediction": OBJECT,
            "data.items[].prediction.uuid": TEXT,
            "data.items[].prediction.model_uuid": TEXT,
            "data.items[].prediction.status?": TEXT,
            "data.items[].access_key_name?": TEXT,
        },
    },
    statuses=frozenset(
        {
            "created",
            "queued",
            "pending",
            "processing",
            "completed",
            "failed",
            "cancelled",
            "timeout",
            "deleted",
        }
    ),
)
