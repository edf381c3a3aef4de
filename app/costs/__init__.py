"""What work costs, and what it may cost.

    usage      append-only: a row for each attempt and model, with its price when it was written (`models.Usage`)
    prices     what a unit of a model costs at a moment: operators' own rows first, then genai-prices (`prices.py`)
    budgets    how much a scope may spend in a window; each window is an account with `spent` and `reserved`
    roll-ups   usage by hour and day, for reports

Invariants
- Money is `Decimal` and `numeric`. Usage rows are never changed: a correction, or a price put right, is a new row.
- A model without a price is `unpriced`, never 0.
- An attempt starts only after its estimate is reserved in every account that it touches, in the transaction that
  starts it, with those accounts locked in the order of their ids. The statement that ends or returns the attempt
  releases the reservation and books what it really cost. So for every account `reserved` is the sum of what running
  tasks hold in it, and `spent` the sum of what was booked: a crash can leave neither out.
- `spent + reserved` passes the limit only by what running attempts cost above their estimates.
- A roll-up replaces whole hours and days by what `usage` holds of them: doubled, cut short or by two managers it is the
  same. Who adds usage to an hour that is past says so (`rollup.add_dirty`). Reports read roll-ups only.
- Nothing starts under budgets that its manager has not read: `budget_epoch` counts their changes, and the statement
  that starts tasks looks at it.
"""
