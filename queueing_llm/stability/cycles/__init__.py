"""Own critical rates of policies: the cycles of a saturated engine."""
