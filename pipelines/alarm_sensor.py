"""The sensor `alarms`: one message per batch with failures, and one when something waits for a person, such as takes for a verdict.

A batch is all clips of one decision, in any number of runs. Its message waits until the batch is over, ten minutes at most, so
that it names every failure. A second message follows only for clips that fail after the first one was sent.
"""

import datetime as dt
import time
from collections.abc import Iterable

import dagster as dg
import sqlalchemy as sa

from pipelines.alarm_memory import Pending, SentMessage, State
from pipelines.clip_batch import BACKFILL_TAG, DECISION_TAG, decision_of
from pipelines.collections import BATCH_TAG
from pipelines.review_reminder import REVIEW, clips_to_name, note_waiting, reminder
from pipelines.runs import not_ended
from pipelines.sensors import completion_name
from resources.alarms import Alarm, AlarmNotSentError, FailedClip, Kind, Sender
from resources.dagster_names import asset_page
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.inventory.findings import EVERYTHING_LIVES, Finding, found
from resources.inventory.ledger_audit import undeclared, urgent
from resources.ledger.decision_clips import fixed_clips
from resources.ledger.ledger import Ledger
from resources.ledger.purchases import purchases_of
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts
from resources.ledger.states import AttemptState
from resources.ledger.times import has_passed
from resources.ledger.waiting_clips import waiting

ALARMS_SECONDS = 30
HOLD_SECONDS = 600.0
"""How long a message waits for the rest of its batch."""
BUDGET_SECONDS = 30.0
"""When a tick starts no more messages: a tick has 60 s, and sending takes up to 20 s."""
TRIES = 8
RUNS_A_TICK = 200
OVERLAP_SECONDS = 60.0
WILL_RETRY_TAG = "dagster/will_retry"
_ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def has_work(production: Production, _cursor: str | None) -> bool:
    """Whether an address for messages is set."""
    return production.settings().alarm_url is not None


@dg.sensor(
    name="alarms",
    minimum_interval_seconds=ALARMS_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Sends one message per batch whose runs failed, and one when something waits for a person, to DAILIES_ALARM_URL. "
        "Does nothing while that is not set."
    ),
)
def alarms(context: dg.SensorEvaluationContext, production: Production) -> dg.SensorResult:
    """Note new failures, and send the messages that are due."""
    now = time.time()
    state = State.read(context.cursor, now=now)
    try:
        settings = production.settings()
        if settings.alarm_url is None:
            # no messages about failures from before an address was set
            return dg.SensorResult(
                cursor=State(since=now).written(), skip_reason="DAILIES_ALARM_URL is not set"
            )
        with production.ledger() as ledger:
            _note_failed_runs(context.instance, ledger, state, now)
            origin = context.code_location_origin
            dead = not_ended(context.instance, ledger, origin.location_name if origin else None)
            absent = undeclared(ledger, completed_accounts(context, settings.account_names))
            _note_findings([*urgent(ledger), absent, found(EVERYTHING_LIVES, dead)], state, now)
            note_waiting(waiting(ledger), state, now)
            messenger = _Messenger(
                context,
                ledger,
                Sender(settings.alarm_url, settings.alarm_format, settings.network),
                settings.dagster_url,
                settings.room_url,
            )
            sent = messenger.tell(state, now)
    except DailiesError as error:
        return dg.SensorResult(cursor=state.written(), skip_reason=str(error))
    state.forget(now)
    return dg.SensorResult(
        cursor=state.written(), skip_reason=f"messages sent: {sent}, waiting: {len(state.pending)}"
    )


def completed_accounts(context: dg.SensorEvaluationContext, accounts: Iterable[str]) -> list[str]:
    """The accounts whose completion sensor is loaded; an account's file is read when the code location loads."""
    loaded = context.repository_def
    return [name for name in accounts if loaded is None or loaded.has_sensor_def(completion_name(name))]


def _note_failed_runs(instance: dg.DagsterInstance, ledger: Ledger, state: State, now: float) -> None:
    """Note the batches whose runs failed since the last tick."""
    after = dt.datetime.fromtimestamp(state.since - OVERLAP_SECONDS, dt.UTC)
    records = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=after),
        limit=RUNS_A_TICK,
        order_by="update_timestamp",
        ascending=True,
    )
    for record in records:
        run = record.dagster_run
        state.since = max(state.since, record.update_timestamp.timestamp())
        if run.tags.get(WILL_RETRY_TAG) == "true" or run.run_id in state.runs:
            continue
        state.runs[run.run_id] = now
        batch = _decision(ledger, run)
        state.pending.setdefault(batch, Pending(now, now)).runs.append(run.run_id)


def _decision(ledger: Ledger, run: dg.DagsterRun) -> str:
    """The decision of a run's clips; a collecting run names the batch, and the ledger its decision."""
    collects = run.tags.get(BATCH_TAG)
    if collects is None:
        return decision_of(run)
    query = sa.select(attempts.c.decision).where(attempts.c.batch == collects).limit(1)
    with ledger.read() as connection:
        return str(connection.execute(query).scalar() or collects)


def _note_findings(findings: Iterable[Finding], state: State, now: float) -> None:
    """Note new findings that wait for a person; forget those that are over."""
    for finding in findings:
        key = f"{FINDING}{finding.check.name}"
        last = state.sent.get(key)
        new = set(finding.keys) - set(last.ids if last else ())
        if not finding.keys:
            state.sent.pop(key, None)
            state.pending.pop(key, None)
        elif new:
            state.pending.setdefault(key, Pending(now, now)).finding = finding


FINDING = "inventory:"


class _Messenger:
    """Sends the messages that are due.

    Args:
        context: The tick, for its log and its instance.
        sender: Sends a message to the address in the settings.
        dagster: Address of Dagster's UI.
        room: Address of the room.
    """

    def __init__(
        self, context: dg.SensorEvaluationContext, ledger: Ledger, sender: Sender, dagster: str, room: str
    ) -> None:
        self._context = context
        self._ledger = ledger
        self._sender = sender
        self._dagster = dagster.rstrip("/")
        self._room = room
        self.sent = 0

    def tell(self, state: State, now: float) -> int:
        """Send the messages that are due; returns how many were sent."""
        give_up = time.monotonic() + BUDGET_SECONDS
        for key, pending in list(state.pending.items()):
            longest = max(HOLD_SECONDS, ALARMS_SECONDS * 2.0**TRIES)
            if not has_passed(pending.next_at, now, within=longest) or time.monotonic() > give_up:
                continue
            alarm, ids = self._compose(key, pending, state, now)
            if ids is None:
                continue
            if alarm is None:
                del state.pending[key]
            elif self._send(alarm, pending, now):
                del state.pending[key]
                state.sent[key] = SentMessage(
                    now, sorted({*ids, *(state.sent[key].ids if key in state.sent else ())})
                )
        return self.sent

    def _compose(
        self, key: str, pending: Pending, state: State, now: float
    ) -> tuple[Alarm | None, list[str] | None]:
        """The message and the ids it names: no message if all ids were named before, no ids if it must wait."""
        if key.startswith(FINDING):
            finding = pending.finding
            return (None, []) if finding is None else (self._attention(finding), finding.keys)
        if key == REVIEW:
            return self._waiting(pending, state, now)
        clips = self._clips(key)
        if 0 <= now - pending.first_at < HOLD_SECONDS and (
            any(a.state.is_open for a in clips) or self._has_active_runs(key)
        ):
            return None, None
        failed = [a for a in clips if not a.state.is_open and a.state is not AttemptState.DELIVERED]
        last = state.sent.get(key)
        new = [a for a in failed if last is None or a.id not in last.ids]
        if last is not None and not new:
            return None, []
        if not failed:
            return self._run_failed(key, pending, clips), pending.runs
        return self._clips_failed(key, pending, clips, new, again=last is not None), [a.id for a in failed]

    def _waiting(self, pending: Pending, state: State, now: float) -> tuple[Alarm | None, list[str] | None]:
        clips = clips_to_name(waiting(self._ledger), state, now)
        batches = sorted({clip.decision for clip in clips})
        if not clips:
            return None, []
        if 0 <= now - pending.first_at < HOLD_SECONDS and any(
            attempt.state.is_open for batch in batches for attempt in self._clips(batch)
        ):
            return None, None
        return reminder(clips, room=self._room, budget=self._ledger.budget, now=now), batches

    def _send(self, alarm: Alarm, pending: Pending, now: float) -> bool:
        """Send a message; True if it arrived or is given up after several tries."""
        try:
            self._sender.send(alarm)
        except AlarmNotSentError as error:
            problem = str(error)
        else:
            self._context.log.info("sent: %s", alarm.title)
            self.sent += 1
            return True
        pending.tries += 1
        pending.next_at = now + ALARMS_SECONDS * 2.0**pending.tries
        over = pending.tries >= TRIES
        self._context.log.error("%s: %s%s", alarm.title, problem, "; it is not sent again" if over else "")
        return over

    def _clips(self, decision: str) -> list[Attempt]:
        """The newest purchase of each take of a decision."""
        query = (
            sa.select(attempts)
            .where(attempts.c.decision == decision, attempts.c.subject_kind == "clip")
            .order_by(attempts.c.seq)
        )
        with self._ledger.read() as connection:
            bought = [Attempt.from_row(row) for row in connection.execute(query)]
        return list({attempt.take_slot: attempt for attempt in bought}.values())

    def _has_active_runs(self, decision: str) -> bool:
        instance = self._context.instance
        return any(
            instance.get_runs_count(dg.RunsFilter(statuses=_ACTIVE, tags={tag: decision}))
            for tag in (DECISION_TAG, BACKFILL_TAG)
        )

    def _clips_failed(
        self, decision: str, pending: Pending, clips: list[Attempt], new: list[Attempt], *, again: bool
    ) -> Alarm:
        series = ", ".join(sorted({a.series for a in new}))
        more = " more" if again else ""
        open_ones = sum(a.state.is_open for a in clips)
        noun = "takes" if any(a.slot > 1 for a in clips) else "clips"
        return Alarm(
            id=f"{decision}:{new[-1].id}",
            kind=Kind.CLIPS_FAILED,
            title=f"{len(new)}{more} of {len(clips)} {noun} failed: {series}",
            details=[f"{open_ones} {noun} are still on their way"] if open_ones else [],
            todo="`dailies status --failed` lists the failed clips; `dailies retry` buys them again.",
            batch=decision,
            clips=[self._clip(a) for a in new],
            total=len(clips),
            open=open_ones,
            lost_micros=sum(a.cost_micros for a in new),
            spent_micros=sum(a.cost_micros for a in clips),
            runs=self._urls(pending.runs),
        )

    def _clip(self, attempt: Attempt) -> FailedClip:
        asset = "uploaded_videos" if attempt.state is AttemptState.QUARANTINED else "generations"
        return FailedClip(
            str(attempt.take_slot),
            attempt.series,
            attempt.state.value,
            attempt.reason or "",
            attempt.cost_micros,
            f"{self._dagster}{asset_page(asset)}?view=partitions&partition={attempt.subject_key}",
        )

    def _run_failed(self, decision: str, pending: Pending, clips: list[Attempt]) -> Alarm:
        run = self._context.instance.get_run_by_id(pending.runs[-1])
        job = run.job_name if run is not None else "a run"
        ordered = fixed_clips(self._ledger, decision)
        return Alarm(
            id=f"{decision}:{pending.runs[-1]}",
            kind=Kind.RUN_FAILED,
            title=f"{job} failed"
            + (f" and bought none of its clips ({len(ordered)})" if ordered and not clips else ""),
            details=[
                *([f"clips: {', '.join(sorted(ordered)[:10])}"] if ordered else []),
                self._why(pending.runs[-1]),
            ],
            todo=f"{purchases_of(self._ledger, decision)} See the run's page for details.",
            batch=decision,
            total=len(ordered) or len(clips),
            open=sum(a.state.is_open for a in clips),
            spent_micros=sum(a.cost_micros for a in clips),
            runs=self._urls(pending.runs),
        )

    def _why(self, run_id: str) -> str:
        """The error of a failed run."""
        for entry in self._context.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
            data = entry.dagster_event.step_failure_data if entry.dagster_event else None
            if data is not None and data.user_failure_data is not None:
                return str(data.user_failure_data.description)
            if data is not None and data.error is not None:
                return str(data.error.message).strip().splitlines()[-1]
        return "its process died without an error, or never started"

    def _attention(self, finding: Finding) -> Alarm:
        return Alarm(
            id=f"{finding.check.name}:{finding.keys[-1]}",
            kind=Kind.ATTENTION,
            title=f"{finding.check.asks}: {finding.number}",
            details=finding.sample[:10],
            todo=finding.check.todo,
        )

    def _urls(self, runs: Iterable[str]) -> list[str]:
        return [f"{self._dagster}/runs/{run}" for run in runs]
