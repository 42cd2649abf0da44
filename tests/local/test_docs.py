"""The README's generated parts: no drift, and every setting described."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas import marked
from services.local import docs
from services.runtime.settings import RuntimeSettings


def test_the_readme_is_what_settings_metrics_and_example_give() -> None:
    page = docs.README.read_text(encoding="utf-8")
    assert docs.page(page) == page, "run `make generate` and look at what it changes"


def test_the_check_fails_on_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(
        docs.README.read_text(encoding="utf-8").replace("| meaning |", "| sense |"), encoding="utf-8"
    )
    monkeypatch.setattr(docs, "README", readme)
    monkeypatch.setattr(sys, "argv", ["docs", "--check"])
    with pytest.raises(SystemExit, match="make generate"):
        docs.main()
    monkeypatch.setattr(sys, "argv", ["docs"])
    docs.main()
    assert "sense" not in readme.read_text(encoding="utf-8")


def test_every_worker_with_settings_has_its_rows() -> None:
    table = docs.settings_table()
    assert "| `CHAT_BOOTSTRAP` | `127.0.0.1:9092` | every worker |" in table
    for package, models in docs.settings_classes().items():
        assert models, package
        for model in models:
            own = set(model.model_fields) - set(RuntimeSettings.model_fields)
            for name in own:
                assert f"`{model.model_config['env_prefix']}{name}`".upper() in table


def test_no_default_that_belongs_to_one_machine_is_printed() -> None:
    assert str(Path.home()) not in docs.settings_table()


def test_a_setting_without_description_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="X_")
        told: int = Field(default=1, description="said")
        untold: int = 2

    monkeypatch.setattr(docs, "settings_classes", lambda: {"runtime": [Silent]})
    with pytest.raises(ValueError, match="untold has no description"):
        docs.settings_table()


def test_both_commands_refuse_what_they_do_not_know() -> None:
    for module in ("schemas.generate", "services.local.docs"):
        done = subprocess.run(
            [sys.executable, "-m", module, "--chek"],
            capture_output=True,
            text=True,
            check=False,
            cwd=docs.ROOT,
        )
        assert done.returncode == 1
        assert "usage" in done.stderr


def test_the_whole_example_stands_in_the_readme() -> None:
    page = docs.README.read_text(encoding="utf-8")
    assert docs.EXAMPLE.read_text(encoding="utf-8").strip() in page
    assert marked.table(("a",), [("x|y",)]) == "| a |\n| --- |\n| x\\|y |"
