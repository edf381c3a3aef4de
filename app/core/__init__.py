"""What every domain stands on and that knows no domain noun: time, database, batches, loops, wakes, HTTP edges."""
