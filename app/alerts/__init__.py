"""What people are told, and how: so far, approvals in Slack.

`notifiers/` is the seam: one file a channel. Alert rules come to stand beside it.

    approval ──▶ approvals.py (loop) ──▶ question.py (what it says) ──▶ notifiers/slack.py ──▶ Slack
    Slack ──▶ api.py (interactions) ──▶ signature.py ──▶ clicks.py ──▶ the approval's decision ──▶ replies.py

An approval is posted at least once: a crash between Slack's answer and our note of it posts it again, and the buttons
of both messages work. No transaction is open while Slack is called. A decision never depends on Slack's answer.
"""
