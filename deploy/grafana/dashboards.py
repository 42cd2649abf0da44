"""The Grafana dashboards as code: tables of panels (`panels.py`) become the JSON that Grafana reads.

    python deploy/grafana/dashboards.py            writes the JSON beside this file
    python deploy/grafana/dashboards.py --check    only says whether it is as it should be

The one rule: nobody edits the JSON; Grafana is told not to either.
"""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from panels import CONTACT_CENTRE, INSTALLATION, OPERATIONS, WORKSPACE, Panel, Rows

FOLDER = Path(__file__).resolve().parent / "dashboards"
PROMETHEUS = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
COLUMNS = 24
GRAPH_COLUMNS, GRAPH_LINES, STAT_LINES = 8, 8, 4
ALL = model.VariableOption(selected=True, text="All", value="$__all")


def target(ref: str, legend: str, query: str) -> prometheus.Dataquery:
    """One query of a panel."""
    asked = prometheus.Dataquery().ref_id(ref).expr(query).datasource(PROMETHEUS)
    return asked.legend_format(legend) if legend else asked.instant()


def panel(shown: Panel, *, columns: int) -> stat.Panel | timeseries.Panel:
    """One panel with its queries."""
    if shown.kind == "stat":
        last = common.ReduceDataOptions().calcs(["lastNotNull"])
        built: stat.Panel | timeseries.Panel = stat.Panel().height(STAT_LINES).reduce_options(last)
    else:
        legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST)
        built = timeseries.Panel().height(GRAPH_LINES).legend(legend.placement(LegendPlacement.BOTTOM)).min(0)
    built = (
        built.title(shown.title)
        .description(shown.about)
        .unit(shown.unit)
        .span(columns)
        .datasource(PROMETHEUS)
    )
    for ref, (legend_format, query) in zip("ABCDEF", shown.queries.items(), strict=False):
        built = built.with_target(target(ref, legend_format, query))
    return built


def chosen(name: str, query: str) -> build.QueryVariable:
    """What is chosen above the panels: some values of a label, all of them by default."""
    variable = build.QueryVariable(name).query(query).datasource(PROMETHEUS).current(ALL)
    return (
        variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def board(uid: str, title: str, about: str, rows: Rows, *variables: build.QueryVariable) -> model.Dashboard:
    """One dashboard."""
    built = build.Dashboard(title).uid(uid).description(about).tags(["chat-routing"]).readonly()
    built = (
        built.time("now-6h", "now")
        .refresh("30s")
        .with_variable(build.DatasourceVariable("datasource").type("prometheus"))
    )
    for variable in variables:
        built = built.with_variable(variable)
    for name, panels in rows.items():
        built = built.with_row(build.Row(name))
        stats = sum(each.kind == "stat" for each in panels)
        for each in panels:
            built = built.with_panel(
                panel(each, columns=COLUMNS // stats if each.kind == "stat" else GRAPH_COLUMNS)
            )
    return built.build()


NAMESPACE = chosen("namespace", 'label_values(up{job="chat-routing"}, namespace)')
"""Of several installations one; where there is one alone, it may have no such label."""

BOARDS = (
    board(
        "chat-routing-operations",
        "Chat routing: operations",
        "How the workers are: what comes and goes, how fast, what waits and what fails.",
        OPERATIONS,
        NAMESPACE,
        chosen("worker", f'label_values(up{{job="chat-routing", {INSTALLATION}}}, worker)'),
    ),
    board(
        "chat-routing-contact-centre",
        "Chat routing: contact centre",
        "How visitors and agents are: who waits, who answers, what is missed.",
        CONTACT_CENTRE,
        NAMESPACE,
        chosen("workspace", f"label_values(chat_chats_live{{{INSTALLATION}}}, workspace)"),
        chosen("department", f"label_values(chat_chats_live{{{WORKSPACE}}}, department)"),
    ),
)


def main() -> None:
    """Write the dashboards; with `--check`, exit 1 where they are not what the code gives."""
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit("usage: python deploy/grafana/dashboards.py [--check]")
    FOLDER.mkdir(exist_ok=True)
    for each in BOARDS:
        path = FOLDER / f"{each.uid}.json"
        text = json.dumps(each, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            sys.exit(f"{path.name} is not what panels.py says: run make generate and commit what it writes.")
        if not check:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
