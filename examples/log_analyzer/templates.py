"""The templates of a log, mined with drain3 from masked messages."""

from collections import defaultdict
from dataclasses import dataclass

from drain3 import TemplateMiner
from drain3.template_miner_config import TemplateMinerConfig

WILD = "<*>"
WIDE = 12
"""More words than this in one leading place are values ("user alice …"), not different messages."""


@dataclass(slots=True)
class Template:
    """A message's form, how many lines have it, and the first of them."""

    text: str
    count: int
    example: str


class Miner:
    """One log's templates; a fresh one a log, nothing is remembered between logs."""

    def __init__(self) -> None:
        config = TemplateMinerConfig()
        config.drain_sim_th = 0.5
        # Two leading words tell messages apart: "status installed …" is not "status unpacked …".
        config.drain_depth = 5
        config.drain_max_clusters = 5000
        config.parametrize_numeric_tokens = True
        self._miner = TemplateMiner(config=config)
        self._examples: dict[int, str] = {}

    def add(self, masked: str, line: str) -> int:
        """Take a message; returns its cluster."""
        cluster: int = self._miner.add_log_message(masked)["cluster_id"]
        self._examples.setdefault(cluster, line)
        return cluster

    def templates(self) -> tuple[list[Template], dict[int, int]]:
        """The templates, commonest first, and for each cluster the place of its template in that list."""
        clusters = {item.cluster_id: (item.get_template(), item.size) for item in self._miner.drain.clusters}
        groups: dict[str, list[int]] = defaultdict(list)
        final = _widened({number: text.split(" ") for number, (text, _) in clusters.items()})
        for number in clusters:
            groups[" ".join(final[number])].append(number)
        ranked = sorted(groups.items(), key=lambda group: -sum(clusters[n][1] for n in group[1]))
        templates = [
            Template(text, sum(clusters[n][1] for n in numbers), self._examples[min(numbers)])
            for text, numbers in ranked
        ]
        places = {number: place for place, (_, numbers) in enumerate(ranked) for number in numbers}
        return templates, places


def _widened(tokens: dict[int, list[str]]) -> dict[int, list[str]]:
    """The templates with a wildcard where drain3's leading words differ too widely to be words."""
    for place in (0, 1):
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, words in tokens.items():
            if len(words) > 2:
                groups[(*words[:place], WILD, *words[place + 1 :])].append(number)
        for form, numbers in groups.items():
            if len(numbers) > WIDE:
                tokens = tokens | {number: [*form] for number in numbers}
    return tokens
