"""fal's contract: what it offers, and its answers as its pages document them.

Sources, and how far each is believed: **A** is fal's documentation or the source of its client, **B** a third party, **C** concluded. No call was
measured.

| fact | source | grade |
|---|---|---|
| submit, status, result, the addresses in the answer, cancel | fal docs: queue API; `fal_client` | A |
| no idempotency key | absent from the documentation and from `fal_client` | A |
| the listing by endpoint, with inputs; statuses `success`, `error`, `user_error`, sorted by end | fal docs: platform API, requests by endpoint | A |
| the listing shows no job before its end | concluded from its statuses and order | C |
| which of a job's times `start` and `end` filter | not stated; a wider window is read and filtered here | C |
| the listing lags | fal's incidents (request metrics lag, historical request lookup) | B |
| a bill for each request, in US dollars | fal docs: platform API, billing events | A |
| the bill needs an admin key | a third party's report of a 403 | B |
| a 5xx is never charged; a 422 may be | fal docs: errors, FAQ; a third party's billing guide | A, B |
| outputs are kept as long as the request asks | fal docs: common parameters, media expiration | A |
| callbacks, and their signature | fal docs: webhooks | A |
| models and their schemas | fal docs: platform API, models | B |
"""

from resources.providers.provider import Capabilities
from resources.providers.spec import ContractNotes, DocumentedWire
from resources.providers.wire_fields import FLAG, LIST, NUMBER, OBJECT, TEXT

PUBLIC_URL = "https://queue.fal.run"
"""The queue (fal docs: queue API)."""
PLATFORM_URL = "https://api.fal.ai"
"""Requests, bills and prices (fal docs: platform API)."""
STORAGE_URL = "https://rest.fal.ai"
"""Uploads and the keys of callbacks (fal docs: webhooks)."""

START_SECONDS = 3_600
"""How long a request may wait in the queue before fal gives it up, by `X-Fal-Request-Timeout`."""
KEPT_SECONDS = 7 * 86_400
"""How long outputs are kept, by `X-Fal-Object-Lifecycle-Preference`."""

CAPABILITIES = Capabilities(
    echoes_submission_id=False,
    echoes_input=True,
    output_seconds=KEPT_SECONDS,
    # the listing lagged in two incidents of 2026; half an hour is our margin
    settle_seconds=1_800,
    propagation_seconds=60,
    lists_running=False,
    start_seconds=START_SECONDS,
    # an uploaded file's lifetime is "at least 7 days" in an older FAQ; a day is enough
    upload_seconds=24 * 3600,
)

NOTES = ContractNotes(
    window="30 days with inputs",
    cancel="yes; a running job may finish and be charged",
    remains="a seed identifies the job on any key; if the model takes no seed, equal POSTs of the same time are held, and on a shared key every "
    "lost POST; without an admin key there is no bill, so no POST is proved absent",
    grades={
        "echo": "A",
        "listing": "A",
        "input": "A",
        "running": "C",
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
        (r"GET /v1/models/requests/by-endpoint", "list"),
        (r"GET /v1/models/billing-events", "bill"),
        (r"GET /v1/models/pricing", "price"),
        (r"GET /v1/models", "models"),
        (r"GET /.+/requests/[^/]+/status", "status"),
        (r"GET /.+/requests/[^/]+", "result"),
        (r"POST /(?!storage/).+", "submit"),
    ),
    fields={
        "submit": {
            "status": TEXT,
            "request_id": TEXT,
            "response_url": TEXT,
            "status_url": TEXT,
            "cancel_url": TEXT,
            "queue_position?": NUMBER,
        },
        "status": {
            "status": TEXT,
            "request_id?": TEXT,
            "response_url?": TEXT,
            "status_url?": TEXT,
            "cancel_url?": TEXT,
            "queue_position?": NUMBER,
            "logs?": LIST,
            "metrics?": OBJECT,
            "metrics.inference_time?": NUMBER,
            "error?": TEXT,
            "error_type?": TEXT,
        },
        "result": {
            "video": OBJECT,
            "video.url": TEXT,
            "video.content_type?": TEXT,
            "video.file_name?": TEXT,
            "video.file_size?": NUMBER,
            "seed?": NUMBER,
        },
        "list": {
            "items": LIST,
            "items[].request_id": TEXT,
            "items[].endpoint_id": TEXT,
            "items[].started_at?": TEXT,
            "items[].sent_at": TEXT,
            "items[].ended_at?": TEXT,
            "items[].status_code?": NUMBER,
            "items[].duration?": NUMBER,
            "items[].json_input?": OBJECT,
            "items[].json_output?": OBJECT,
            "next_cursor?": TEXT,
            "has_more": FLAG,
        },
        "bill": {
            "billing_events": LIST,
            "billing_events[].request_id": TEXT,
            "billing_events[].timestamp": TEXT,
            "billing_events[].endpoint_id": TEXT,
            "billing_events[].output_units?": NUMBER,
            "billing_events[].unit_price?": NUMBER,
            "billing_events[].percent_discount?": NUMBER,
            "billing_events[].cost_subtotal?": NUMBER,
            "billing_events[].cost_discount?": NUMBER,
            "billing_events[].cost_total": NUMBER,
            "billing_events[].cost_estimate_nano_usd?": NUMBER,
            "next_cursor?": TEXT,
            "has_more": FLAG,
        },
        "price": {
            "prices": LIST,
            "prices[].endpoint_id": TEXT,
            "prices[].unit_price": NUMBER,
            "prices[].unit": TEXT,
            "prices[].currency": TEXT,
        },
    },
    statuses=frozenset({"in_queue", "in_progress", "completed"}),
    headers=frozenset({"x-fal-request-id", "x-fal-error-type", "x-fal-billable-units"}),
)
