from tests.core.database import clock, db
from tests.costs.gate_bench import bench

__all__ = ["bench", "clock", "db"]
