"""A real Prometheus on loopback, with the rules and the scrape settings of `deploy/prometheus`, a minute of which is two seconds here.

The one rule: nothing is written twice. What runs here are the files that are deployed, with other addresses and a faster clock.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from services.local import processes
from services.local.ports import LOOPBACK, free_ports
from tests.programs import program

DEPLOYED = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
RULES = tuple(sorted(DEPLOYED.glob("rules/*.yaml")))
LIMIT_S = 60.0
POLL_INTERVAL_S = 0.2
STOP_GRACE_S = 10.0
MINUTE_S = 2
"""So long is a minute of the rules here: a range of five then holds ten scrapes, also where the machine is slow."""
_DURATION = re.compile(r"(?<![\w.])(\d+)([mhd])\b")
_MINUTES = {"m": 1, "h": 60, "d": 24 * 60}
_LIMIT = " * 60"
"""How a rule writes a limit in minutes that is compared with seconds."""


def promtool(*arguments: str | Path, folder: Path = DEPLOYED) -> str:
    """What promtool says; the test fails where it is not content."""
    ran = subprocess.run(
        [program("promtool", package="prometheus"), *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=LIMIT_S,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def faster(text: str) -> str:
    """Rules or a query with `MINUTE_S` for each minute: of ranges, of waits, and of limits written as `15 * 60`."""

    def shorter(found: re.Match[str]) -> str:
        return f"{int(found[1]) * _MINUTES[found[2]] * MINUTE_S}s"

    return _DURATION.sub(shorter, text).replace(_LIMIT, f" * {MINUTE_S}")


class Prometheus:
    """The server as a context manager. `targets` are the workers' ports on loopback; `token_file` holds what they ask for."""

    def __init__(self, folder: Path, targets: Mapping[str, int], *, token_file: Path) -> None:
        self._folder = folder
        self._token_file = token_file
        (self._port,) = free_ports(1)
        self._process: processes.Process
        self._client = httpx.Client(base_url=f"http://{LOOPBACK}:{self._port}/api/v1", timeout=LIMIT_S)
        self.scrape(targets)

    def __enter__(self) -> Self:
        self._process = processes.spawn(
            [
                program("prometheus", package="prometheus"),
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={LOOPBACK}:{self._port}",
            ],
            environment={"PATH": os.defpath},
            folder=self._folder,
            output=self._log,
        )
        self.until(self._answers, "Prometheus answers")
        return self

    def __exit__(self, *_exception: object) -> None:
        self._client.close()
        processes.stop([self._process], grace_s=STOP_GRACE_S)

    @property
    def _log(self) -> Path:
        return self._folder / "prometheus.log"

    def scrape(self, targets: Mapping[str, int]) -> None:
        """Write the settings; workers that are not among `targets` are left out."""
        config = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text("utf-8"))
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        (job,) = config["scrape_configs"]
        job["authorization"] = {"credentials_file": str(self._token_file)}
        for group in job["static_configs"]:
            worker = group["labels"]["worker"]
            group["targets"] = [f"{LOOPBACK}:{targets[worker]}"] if worker in targets else []
        config["rule_files"] = ["rules/*.yaml"]
        for path in RULES:
            (self._folder / "rules").mkdir(exist_ok=True)
            (self._folder / "rules" / path.name).write_text(faster(path.read_text("utf-8")), "utf-8")
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")

    def reload(self) -> None:
        """Let it read its settings again."""
        os.kill(self._process.pid, signal.SIGHUP)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text("utf-8")[-4_000:]
        try:
            return self._client.get("/status/buildinfo").is_success
        except httpx.TransportError:
            return False

    # ------------------------------------------------------------ what it knows

    def _get(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(path, params=parameters)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The value of an instant query by labels."""
        found = self._get("/query", query=expression)
        assert found["resultType"] == "vector", expression
        return {tuple(sorted(each["metric"].items())): float(each["value"][1]) for each in found["result"]}

    def range(self, expression: str, *, seconds: float) -> list[float]:
        """The values of a range query over the last seconds, of all series."""
        now_s = time.time()
        found = self._get(
            "/query_range", query=expression, start=str(now_s - seconds), end=str(now_s), step="1"
        )
        return [float(value) for each in found["result"] for _, value in each["values"]]

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        return {
            alert["labels"]["alertname"]
            for alert in self._get("/alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def until(self, condition: Any, what: str, *, limit_s: float = LIMIT_S) -> float:
        """Return after how many seconds the condition held."""
        began_s = time.monotonic()
        while not condition():
            waited_s = time.monotonic() - began_s
            assert waited_s < limit_s, f"not within {limit_s:g} s: {what}"
            time.sleep(POLL_INTERVAL_S)
        return time.monotonic() - began_s
