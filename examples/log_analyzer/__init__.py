"""What happened in this log? Templates mined with drain3, levels, bursts and rare lines.

text ─▶ parsing (moment, level, message) ─▶ masking ─▶ templates (drain3) ─┐
                └────────────── moments ─▶ bursts ─────────────────────────┴─▶ analysis ─▶ result
"""
