"""What is wrong, and what people are told of it, and how.

Watching:

    signals/ ──reader.py──▶ readings ──evaluation.py (one leader)──▶ decide.judge ──▶ alert_states, alert_transitions
    rule_api.py ──▶ rule_service.py ──▶ alert_rules                                          │
    explanation.py: the same readings and states, in words                                    └─▶ wake `alerts`

Approvals in Slack:

    approval ──▶ approvals.py (loop) ──▶ question.py (what it says) ──▶ notifiers/slack.py ──▶ Slack
    Slack ──▶ api.py (interactions) ──▶ signature.py ──▶ clicks.py ──▶ the approval's decision ──▶ replies.py

Invariants
- Having no data, not being readable and having vanished are three answers of a signal. None of them is ever "ok" unless
  a rule says so.
- A rule is judged in a transaction that holds its row, and by nothing older than it was judged by last: two that
  evaluate at once change each phase once. Time is the database's.
- An instance outlives its rule: what fires is resolved, and people are told, when the rule is deleted or disabled.
- An approval is posted at least once: a crash between Slack's answer and our note of it posts it again, and the buttons
  of both messages work. No transaction is open while Slack is called. A decision never depends on Slack's answer.

`notifiers/` is the seam of channels, `signals/` that of what can be watched: one file a member, and one line.
"""
