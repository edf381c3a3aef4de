"""Service level objectives: what was promised, how much of the error budget is left, and how fast it burns.

    tasks, feedback ──counts.py──▶ minutes of good / bad / unscored / pending / excluded ──▶ buckets.py keeps them
                                       │
        windows.py (which stretch) ────┤
                                       ▼
    objective.py ──▶ standing.py ──▶ budget.py: state, remaining, burn rate, time to exhaustion
         ▲                │
    openslo.py            └───────▶ burn_alerts.py: both windows of a rule burn faster than its factor

    loop.py ──▶ counting.py: which minutes (progress.py) are counted next, each stretch in a transaction
         └────▶ numbers.py: how it stands, for the loop, the routes (desk.py, shown.py) and the signals of alerts
                    └──▶ limits/tightening.py: what an exhausted budget holds its pool to

    feedback ──▶ verdicts.py: which verdict of a task counts, and until when     (accuracy)
    probes ──▶ probe_checks.py: was the answer of a golden task right            (synthetic, never counted in an SLO)

        probe_timing.py ──▶ probe_firing.py: task and run in one transaction ──▶ the way of every task
                                                                                     │
        probe_judging.py: late ones are cancelled, ended ones judged ◀── tasks ──────┘
                   └─▶ probe_verdict.py: passed, failed or error; of the last runs: passing, failing or undecided

Invariants
- An event is good, bad, unscored (nobody has judged it), pending (it may still be judged) or excluded. Only good and
  bad ones are valid, that is, are in a ratio. What counts as bad has a name: `counts.py` gives the counts by name.
- All arithmetic is of whole numbers and fractions. A float appears where a number is shown, never where it is judged.
- `no_data` and `insufficient_evidence` are states of their own. Neither is ever the same as healthy.
- An alert fires while both windows of its rule burn. A rule that could not fire even if everything failed is never kept
  as it is: it is given a longer window, or is refused.
- A planned time of a probe has one task at most, whoever leads; times that passed while nobody looked have none. What
  probes spend is on budgets that name their tenant, and on no others.
- A bucket is replaced as a whole. One whose verdicts have settled is never counted again.
- Whoever counts an objective has its row alone, and reads tasks after that: counting twice is counting once.
- What is not counted up to now, or not back to the beginning of its windows, alerts nobody and tightens nothing.
"""
