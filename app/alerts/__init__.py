"""What is wrong, and what people are told of it, and how.

Watching:

    signals/ ──reader.py──▶ readings ──evaluation.py (one leader)──▶ decide.judge ──▶ alert_states, alert_transitions
    rule_api.py ──▶ rule_service.py ──▶ alert_rules                                          │
    explanation.py: the same readings and states, in words                                    └─▶ wake `alerts`

Telling:

    alert_states ──looking.py (one leader)──▶ members.py: groups and their alerts, by receiver
    a due group ──claiming.py (a lease)──▶ steps.py: wait, hold or send ──▶ outside.py ──▶ notifiers/ ──▶ people
        └─ flushing.py, in one transaction: log, notification with its verdicts, receipt, the next flush ◀── outcomes.py
    alert_clicks.py, group_service.py: taken by somebody · escalation.py: by nobody · heartbeats.py · changes.py

Answering by itself:

    alert_states, alert_rules ──answering.py (what is missing, what is over)──▶ responses.py (one leader) ──▶ actions/

Approvals in Slack:

    approval ──▶ approvals.py (loop) ──▶ question.py (what it says) ──▶ notifiers/slack.py ──▶ Slack
    Slack ──▶ api.py (interactions) ──▶ signature.py ──▶ clicks.py ──▶ the approval's decision ──▶ replies.py

Invariants
- Having no data, not being readable and having vanished are three answers of a signal. None of them is ever "ok" unless
  a rule says so.
- A rule is judged in a transaction that holds its row, and by nothing older than it was judged by last: two that
  evaluate at once change each phase once. Time is the database's.
- An instance outlives its rule: what fires is resolved, and people are told, when the rule is deleted or disabled.
- A notice has its id before it is sent, the same in all its tries. A crash between sending and storing leaves one
  second sending, which that id lets receivers recognise.
- An action is begun once for each time an instance fires, in the transaction that accounts for it, and ends by itself.
- An approval is posted at least once: a crash between Slack's answer and our note of it posts it again, and the buttons
  of both messages work. No transaction is open while Slack is called. A decision never depends on Slack's answer.

`notifiers/` is the seam of channels, `signals/` that of what can be watched, `actions/` that of what is done: one file
a member, and one line.
"""
