"""
What becomes of an alert when a figure is read. Pure: moments are arguments, nothing is sent here.

              above the threshold          above for long enough
        (none) -----------------> PENDING ----------------------> FIRING <---.
                                     |                              | | back | above again
                    at or below it   |          a person sees to it | |______|
        (none) <---------------------'                              v
                                                              ACKNOWLEDGED
                                                                    |
                          at or below `clear` for long enough       v
                 from FIRING or ACKNOWLEDGED ------------------> RESOLVED

Promises. One alert fires once and is resolved once, however often the same readings are heard, in
whatever portions: a reading that is not newer than the last one of its subject says nothing. An
alert fires only on a reading that is above the threshold at a moment when it is due, so a process
that slept does not take for granted what it did not see. A source that knows the exact moment of a
change says so with two readings: what it was until then, and what it is since.

Between `clear` and `threshold` nothing changes: an alert that fires stays, and one that does not
fire is not begun.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from schemas.alerts import LOUD, Alert, Notice, Reading, Rule, Said, Severity, State

#: What is known of one rule and subject: the alert, or its last one that is over.
Known = Mapping[tuple[str, str], Alert]


def heard(rule: Rule, alert: Alert | None, reading: Reading, new_id: str) -> Alert | None:
    """
    Return how *alert* (the last of this rule and subject, or none) stands after *reading*.

    A new one is called *new_id*. An alert that was pending and is not is returned as resolved
    without having fired: nobody was told, and nobody is.
    """
    if alert is not None and reading.at_ms <= alert.read_ms:
        return alert
    above = reading.value > rule.threshold
    if alert is None or alert.state is State.RESOLVED:
        begun = _begun(rule, reading, new_id) if above else None
        return begun or (alert and replace(alert, read_ms=reading.at_ms))
    alert = replace(
        alert,
        value=reading.value,
        worst=max(alert.worst, reading.value),
        read_ms=reading.at_ms,
    )
    if alert.state is State.PENDING:
        return _fired(rule, alert) if above else _over(alert, reading.at_ms)
    return _calming(rule, alert, reading)


def _begun(rule: Rule, reading: Reading, new_id: str) -> Alert:
    alert = Alert(
        id=new_id,
        rule=rule.name,
        subject=reading.subject,
        severity=rule.severity,
        state=State.PENDING,
        since_ms=reading.at_ms,
        value=reading.value,
        worst=reading.value,
        read_ms=reading.at_ms,
    )
    return _fired(rule, alert)


def _fired(rule: Rule, alert: Alert) -> Alert:
    """Let a pending alert fire that has been above for long enough."""
    if alert.read_ms - alert.since_ms < rule.for_ms:
        return alert
    return replace(alert, state=State.FIRING, fired_ms=alert.since_ms + rule.for_ms)


def _calming(rule: Rule, alert: Alert, reading: Reading) -> Alert:
    if reading.value > rule.clear:
        # Between the two also: what was calm is not calm any more, and nothing is over.
        return replace(alert, calm_since_ms=None)
    since = reading.at_ms if alert.calm_since_ms is None else alert.calm_since_ms
    if reading.at_ms - since < rule.clear_for_ms:
        return replace(alert, calm_since_ms=since)
    return _over(replace(alert, calm_since_ms=since), reading.at_ms)


def _over(alert: Alert, at_ms: int) -> Alert:
    return replace(alert, state=State.RESOLVED, resolved_ms=at_ms)


def acknowledged(alert: Alert, by: str, at_ms: int, note: str = "") -> Alert | None:
    """Return *alert* as seen to by a person; None: it does not fire, or somebody does already."""
    if alert.state is not State.FIRING:
        return None
    return replace(
        alert, state=State.ACKNOWLEDGED, acknowledged_by=by, acknowledged_ms=at_ms, note=note
    )


def completed(rule: Rule, known: Known, readings: Iterable[Reading], at_ms: int) -> list[Reading]:
    """
    Return *readings*, which name all subjects in trouble, and calm for those named no more.

    Oldest first of each subject, as they have to be heard.
    """
    said = sorted(readings, key=lambda each: (each.subject, each.at_ms))
    named = {each.subject for each in said}
    return said + [
        Reading(subject, 0.0, at_ms)
        for (name, subject), alert in known.items()
        if name == rule.name and alert.state is not State.RESOLVED and subject not in named
    ]


# --- what is told ---------------------------------------------------------------------------------


def told(rule: Rule, unit: str, before: Alert | None, after: Alert) -> list[Notice]:
    """Return what has to be told of the way from *before* to *after*."""
    same = before if before is not None and before.id == after.id else None
    if same is not None and same.state is State.RESOLVED:
        return []
    was_loud = same is not None and same.state in LOUD
    said = []
    if not was_loud and after.fired_ms is not None:
        said.append(notice(rule, unit, after, Said.FIRED))
    if (was_loud or said) and after.state is State.RESOLVED:
        said.append(notice(rule, unit, after, Said.RESOLVED))
    return said


def notice(rule: Rule, unit: str, alert: Alert, said: Said) -> Notice:
    """Return what is told of *alert*."""
    title = f"{rule.name}: {alert.subject}" if alert.subject else rule.name
    if said is Said.FIRED:
        at_ms = alert.fired_ms or alert.since_ms
        found = f"{figure(alert.value)} {unit}, allowed {figure(rule.threshold)}"
        rest = [
            rule.summary,
            f"{found}, for {span(at_ms - alert.since_ms)}.",
            f"Do: {rule.runbook}",
        ]
    else:
        at_ms = alert.resolved_ms or alert.read_ms
        found = f"over after {span(at_ms - alert.since_ms)}, worst {figure(alert.worst)} {unit}"
        by = f" Seen to by {alert.acknowledged_by}." if alert.acknowledged_by else ""
        rest = [f"It is {found}.{by}"]
    return Notice(
        id=f"{alert.id}/{said}",
        said=said,
        severity=alert.severity,
        at_ms=at_ms,
        title=title,
        line=f"{title}: {found}",
        body="\n".join(rest),
        channels=rule.channels,
    )


def self_test(id_: str, channel: str, at_ms: int) -> Notice:
    """Return what the daily self-test tells on *channel*."""
    return Notice(
        id=id_,
        said=Said.TEST,
        severity=Severity.INFO,
        at_ms=at_ms,
        title="self-test",
        line=f"self-test: alerts reach {channel}",
        body=f"Alerts reach {channel}. Nothing is wrong, and nothing has to be done.",
        channels=(channel,),
    )


def figure(value: float) -> str:
    """Return a figure as a person reads it."""
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:,.1f}"


def span(ms: int) -> str:
    """Return a length of time in its two greatest units."""
    seconds = ms // 1000
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
