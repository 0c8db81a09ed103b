"""What the command line refuses, and what it says."""

from __future__ import annotations

import io
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout

from binance_pm.cli import main
from binance_pm.cli.app import run
from binance_pm.cli.dashboard.history import History
from binance_pm.cli.watch import show
from binance_pm.fleet import Fleet
from tests.messages.fleet import ACCOUNT
from tests.messages.stage import Scenario, Stage


def command(line: str, *, accounts: str = ACCOUNT) -> Scenario:
    """Run a command line; FILE in it is an accounts file, FOLDER the folder that it is in."""

    def scenario(stage: Stage) -> object:
        file = stage.file(accounts, name="accounts.toml")
        words = [word.replace("FILE", str(file)).replace("FOLDER", str(stage.folder)) for word in shlex.split(line)]
        out, err = io.StringIO(), io.StringIO()
        stage.patch.setenv("COLUMNS", "100")
        with redirect_stdout(out), redirect_stderr(err):
            code = run(words)
        return f"exit {code}\n{out.getvalue()}{err.getvalue()}"

    return scenario


def without_extra(stage: Stage, module: str, line: str) -> object:
    """Run a command without what it needs."""
    stage.without(module)
    return command(line)(stage)


def without_dashboard(stage: Stage) -> object:
    """A dashboard without what draws it."""
    stage.without("textual")
    for name in [name for name in sys.modules if name.startswith("binance_pm.cli.dashboard.app")]:
        stage.patch.delitem(sys.modules, name)
    # A loaded module is an attribute of its package, too.
    stage.patch.delattr("binance_pm.cli.dashboard.app", raising=False)
    return show(Fleet([]), None, [], History())  # type: ignore[arg-type]


def without_cli(stage: Stage) -> object:
    """Run the command without its extra."""
    stage.without("cyclopts")
    stage.patch.delitem(sys.modules, "binance_pm.cli.app", raising=False)
    stage.patch.setattr(sys, "argv", ["binance-pm"])
    try:
        main()
    except SystemExit as ended:
        return ended.code
    return None


SCENARIOS: dict[str, Scenario] = {
    "command.call without a key": command("call account"),
    "command.call two places": command("call ping --sandbox --base-url http://127.0.0.1:1"),
    "command.call base URL": command("call ping --base-url papi"),
    "command.doctor two places": command("doctor --sandbox --accounts FILE"),
    "command.doctor fault without the sandbox": command("doctor --fault clock"),
    "command.doctor unknown fault": command("doctor --sandbox --fault flood"),
    "command.doctor fault as JSON": command("""doctor --sandbox --fault '{"x": 1}'"""),
    "command.doctor fault of no pool": command("""doctor --sandbox --fault '{"external_usage": {"spot": 1}}'"""),
    "command.plan fits": command("plan --accounts 20 --every 5s"),
    "command.plan does not fit": command("plan --accounts 5000 --every 1s"),
    "command.plan adaptive": command("plan --accounts 20"),
    "command.plan adaptive does not fit": command("plan --accounts 5000"),
    "command.plan every and floor": command("plan --accounts 5 --every 5s --floor 1"),
    "command.plan every": command("plan --accounts 5 --every soon"),
    "command.plan every too short": command("plan --accounts 5 --every 0"),
    "command.plan every too long": command("plan --accounts 5 --every 86401"),
    "command.plan file and product": command("plan --accounts FILE --product pm"),
    "command.plan shard of a number": command("plan --accounts 5 --shard 1/2"),
    "command.plan shard without accounts": command("plan --accounts FILE --shard 1/2", accounts=ACCOUNT),
    "command.plan other shard": command("plan --accounts FILE --shard 2/2", accounts=ACCOUNT),
    "command.plan no accounts": command("plan --accounts 0"),
    "command.plan too many accounts": command("plan --accounts 1000001"),
    "command.plan endpoint": command("plan spot --accounts 5"),
    "command.plan endpoint and product": command("plan account --accounts 5 --product pm"),
    "command.sandbox accounts file": command("sandbox --accounts-file FILE"),
    "command.sandbox no folder": command("sandbox --accounts-file FOLDER/no/accounts.toml"),
    "command.sandbox port": command("sandbox --port 99999"),
    "command.watch missing file": command("watch --accounts FOLDER/nothing"),
    "command.watch shard": command("watch --accounts FILE --shard 1"),
    "command.watch address": command("watch --accounts FILE --metrics here"),
    "command.watch name without a budget": command("watch --accounts FILE --budget-name x"),
    "command.watch stream without a server": command("watch --accounts FILE --stream x"),
    "command.watch kinds without a command": command("watch --accounts FILE --on-event-kind Fresh"),
    "command.watch command empty": command("watch --accounts FILE --on-event ''"),
    "command.watch command unknown": command("watch --accounts FILE --on-event no-such-program"),
    "command.watch command not closed": command("""watch --accounts FILE --on-event "sh '" """),
    "command.watch without metrics": lambda stage: without_extra(
        stage, "binance_pm.metrics", "watch --accounts FILE --metrics 9464"
    ),
    "command.tail nothing there": command("tail redis://127.0.0.1:1"),
    "command.without a dashboard": without_dashboard,
    "command.without its extra": without_cli,
}
