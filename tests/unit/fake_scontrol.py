# SPDX-License-Identifier: GPL-3.0-or-later
"""A scontrol and a sacctmgr for tests without Slurm: programs that keep licences in a file.

What the real ones do is known to tests/slurm; these print what was seen of Slurm 22.05.8 and, for
licences of slurmdbd, 24.11.5.
"""

import json
import sys
from pathlib import Path
from typing import Any

PROGRAM = r"""
import json, os, re, sys, time
folder = os.path.dirname(os.path.abspath(__file__))
program, words = os.path.basename(__file__), sys.argv[1:]
with open(folder + "/calls", "a") as file:
    file.write(json.dumps([program, *words]) + "\n")
path = folder + "/state"
with open(path) as file:
    state = json.load(file)

def end(complaint):
    sys.stderr.write(complaint + "\n")
    sys.exit(1)

for pattern, order in state["orders"].items():
    if pattern in " ".join([program, *words]):
        if order == "hang":
            time.sleep(600)
        if order == "talk":
            while True:
                sys.stdout.write("x" * 100000)
        if order.startswith("print "):
            sys.stdout.write(order[6:])
            sys.exit(0)
        end(order)

forever = "NodeCnt=0 EndTime=2999-01-01T00:00:00"
options = dict(word.split("=", 1) for word in words if "=" in word)

def reserve(name, text):
    licence, count = text.split(":")
    others = sum(
        each["count"] for key, each in state["reservations"].items()
        if each["licence"] == licence and key != name
    )
    if int(count) + others > state["licenses"].get(licence, {"total": -1})["total"]:
        end("Error creating the reservation: Invalid license specification")
    state["reservations"].setdefault(name, {"rest": forever})
    state["reservations"][name].update(licence=licence, count=int(count))

match words:
    case ["--version"]:
        print(state["version"])
    case ["--oneliner", "show", "licenses"]:
        for name, each in state["licenses"].items():
            print(f"LicenseName={name} Total={each['total']} Used={each['used']} Free=0 Reserved=0"
                  f" Remote=no {each.get('rest', '')}".rstrip())
        if not state["licenses"]:
            print("No licenses configured in Slurm.")
    case ["--oneliner", "show", "reservations"]:
        for name, each in state["reservations"].items():
            print(f"ReservationName={name} StartTime=2026-11-30T02:28:36 {each['rest']}"
                  f" Users=root Licenses={each['licence']}:{each['count']} State=ACTIVE")
        if not state["reservations"]:
            print("No reservations in the system")
    case ["create", "reservation", *_]:
        if options["reservationname"] in state["reservations"]:
            end("Error creating the reservation: Duplicate reservation name")
        reserve(options["reservationname"], options["licenses"])
    case ["update", *_]:
        reserve(options["reservation"], options["licenses"])
        state["reservations"][options["reservation"]]["rest"] = forever
    case ["delete", *_]:
        if state["reservations"].pop(options["reservation"], None) is None:
            end("Requested reservation is invalid")
    case ["--immediate", "modify", "resource", *_]:
        each = state["licenses"][options["name"] + "@" + options["server"]]
        deficit = max(0, int(options["lastconsumed"]) - each["used"])
        each["rest"] = f"LastConsumed={options['lastconsumed']} LastDeficit={deficit}"
    case _:
        end("unknown: " + " ".join(words))
with open(path, "w") as file:
    json.dump(state, file)
"""


class FakeScontrol:
    """Both programs in a folder; `licenses` and reservations are what they keep.

    An order is for all calls that hold its text: "hang", "talk", "print TEXT" or a complaint.
    """

    def __init__(self, folder: Path, version: str = "slurm-wlm 22.05.8") -> None:
        self.folder = folder
        folder.mkdir(mode=0o755)
        for name in ("scontrol", "sacctmgr"):
            program = folder / name
            program.write_text(f"#!{sys.executable} -IS\n{PROGRAM}")
            program.chmod(0o755)
        (folder / "calls").touch()
        self._keep({"version": version, "licenses": {}, "reservations": {}, "orders": {}})

    def add(self, name: str, total: int, used: int = 0, rest: str = "") -> None:
        """Have a licence, or change it."""
        self._set("licenses", name, {"total": total, "used": used, "rest": rest})

    def remove(self, name: str) -> None:
        """Have a licence no more."""
        state = self._kept()
        del state["licenses"][name]
        self._keep(state)

    def reserve(self, name: str, licence: str, count: int, rest: str = "NodeCnt=0") -> None:
        """Have a reservation that was not made by these programs."""
        self._set("reservations", name, {"licence": licence, "count": count, "rest": rest})

    def order(self, text: str, order: str) -> None:
        """Let all calls that hold this text do as ordered."""
        self._set("orders", text, order)

    def clear_orders(self) -> None:
        """Let all calls do what they are for."""
        self._keep({**self._kept(), "orders": {}})

    def reservations(self) -> dict[str, str]:
        """Return the licences of each reservation."""
        found = self._kept()["reservations"].items()
        return {name: f"{each['licence']}:{each['count']}" for name, each in found}

    def licence(self, name: str) -> dict[str, Any]:
        """Return what is kept of a licence."""
        return dict(self._kept()["licenses"][name])

    def calls(self) -> list[str]:
        """Return the calls since the last time, each as one line."""
        lines = (self.folder / "calls").read_text().splitlines()
        (self.folder / "calls").write_text("")
        return [" ".join(json.loads(line)) for line in lines]

    def _set(self, kind: str, name: str, value: object) -> None:
        state = self._kept()
        state[kind][name] = value
        self._keep(state)

    def _kept(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "state").read_text()))

    def _keep(self, state: dict[str, Any]) -> None:
        (self.folder / "state").write_text(json.dumps(state))
