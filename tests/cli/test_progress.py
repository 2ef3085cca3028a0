"""Tables of sweeps, as text."""

from rich.console import Console

from ppl_scaling.cli.progress import comparison_table
from ppl_scaling.inference import BudgetRatio, CensoredRatio, MatchedTokens


def test_table_of_a_comparison():
    matched = [
        MatchedTokens("theirs[x]", "ours", 4, 400.2, 0.6, 0.7, -0.1, -0.15, -0.05),
        MatchedTokens("theirs[x]", "ours", 8, 800.0, None, 0.7, None, None, None),
        MatchedTokens("theirs[x]", "ours", 16, 1600.0, 0.6, 0.6, 0.0, None, None),
        MatchedTokens("greedy", "ours", None, 90.0, 0.4, 0.3, 0.1, 0.05, 0.15),
    ]
    known = CensoredRatio(3.51, 0.254, 16.0, None, None, "above")
    above = CensoredRatio(16.0, 16.0, 16.0, "above", "above", "above")
    below = CensoredRatio(0.25, 0.25, 1.0, "below", "below", None)
    pairs = [(4, known, above), (8, above, known), (16, below, below)]
    ratios = [BudgetRatio("theirs[x]", "ours", budget, 0.7, *pair) for budget, *pair in pairs]
    console = Console(width=80)
    with console.capture() as shown:
        console.print(comparison_table(matched, ratios))
    lines = [line.split() for line in shown.get().splitlines()]
    assert "theirs[x] 4 400 -10.0 [-15.0, -5.0] 3.5 [0.25, >16] >16".split() in lines
    assert "8 800 outside >16 3.5".split() in lines
    assert "16 1600 +0.0 <0.25 [<0.25, 1.0] <0.25".split() in lines
    assert "greedy 90 +10.0 [+5.0, +15.0]".split() in lines
