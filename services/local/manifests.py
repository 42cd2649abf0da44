"""The Kubernetes resources that follow from what stands elsewhere: topics and users for Strimzi's operators, rules for Prometheus' operator.

The one rule: nothing is written twice. `python -m services.local.manifests` writes them from the contract, from `principals.py` and from
`deploy/prometheus/rules`; with `--check` it only says whether they are as they should be.
"""

import sys
from pathlib import Path
from textwrap import indent

from schemas import marked
from services.local import strimzi

_DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
_RULES = _DEPLOY / "prometheus" / "rules"
# Indented, a line may be longer than it may be where it is written.
_HEAD = "# Generated, see make generate: the rules of deploy/prometheus/rules.\n# yamllint disable rule:line-length\n"


def rules() -> str:
    """Return the rules' files as they are, each as a resource of its name."""
    return _HEAD + "---\n".join(map(_rule, sorted(_RULES.glob("*.yaml"))))


def _rule(path: Path) -> str:
    return (
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n"
        f"  name: {path.stem.replace('_', '-')}\n  namespace: chat-routing\nspec:\n"
        f"{indent(path.read_text('utf-8'), '  ')}"
    )


def manifests() -> dict[Path, str]:
    """Return the text of each generated file."""
    folder = _DEPLOY / "kubernetes"
    return {
        folder / "base" / "kafka-topics.yaml": strimzi.topics(),
        folder / "base" / "kafka-users.yaml": strimzi.users(),
        folder / "components" / "prometheus" / "rules.yaml": rules(),
    }


def main() -> None:
    """Run the command; with `--check`, exit 1 where a file is not what it follows from."""
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit("usage: python -m services.local.manifests [--check]")
    different = [path for path, text in manifests().items() if not marked.put(path, text, check=check)]
    if check and different:
        sys.exit(f"{', '.join(map(str, different))}: not what it follows from, run make generate.")


if __name__ == "__main__":
    main()
