"""Questions to people about one exact action: the hash of what was shown is the hash of what runs.

    pending ─▶ approved | edited | rejected | expired        superseded: the task went on or ended without an answer

An approval is opened in the transaction that makes its task wait (or accepts it as held), and decided in the
transaction that resumes, releases or ends that task. Its task's row is locked before its own, always.
"""
