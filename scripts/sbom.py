# SPDX-License-Identifier: GPL-3.0-or-later
"""`make sbom`: what an installation consists of as a CycloneDX document, the same each time."""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import install_environment

NAME = "spank-qrmi"


def main() -> None:
    """Install a wheel in an environment, describe that, and print the document's path."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--pip", required=True)
    parser.add_argument("--cyclonedx", required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        environment = Path(scratch, "environment")
        install_environment.make_environment(environment, options.wheel, options.pip)
        product = metadata_of(environment)
        subject = Path(scratch, "pyproject.toml")
        subject.write_text(subject_of(product))
        target = options.output / f"spank_qrmi-{product['Version']}.cdx.json"
        describe(options.cyclonedx, environment, subject, target)
    print(target)


def metadata_of(environment: Path) -> importlib.metadata.PackageMetadata:
    """Return what the installed package says of itself."""
    [folder] = environment.glob("lib/*/site-packages/spank_qrmi-*.dist-info")
    return importlib.metadata.PathDistribution(folder).metadata


def subject_of(product: importlib.metadata.PackageMetadata) -> str:
    """Return a pyproject.toml from which the document's subject is taken.

    The project's own has no version, and a form of licence that cyclonedx-bom does not read.
    """
    fields = {
        "name": NAME,
        "version": product["Version"],
        "description": product["Summary"],
        "dependencies": product.get_all("Requires-Dist"),
    }
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in fields.items()]
    licence = json.dumps(product["License-Expression"])
    return "".join(["[project]\n", *lines, f"license = {{ text = {licence} }}\n"])


def describe(cyclonedx: str, environment: Path, subject: Path, target: Path) -> None:
    """Write the document of an environment, checked against its schema."""
    command = [
        *(cyclonedx, "environment", environment, "--pyproject", subject),
        *("--mc-type", "application", "--output-reproducible", "--validate"),
        *("--output-format", "JSON", "--spec-version", "1.6", "--output-file", target),
    ]
    # Otherwise the environment has what is on this path as well.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        env=variables,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(f"{done.stderr}error: the bill of materials cannot be made")


if __name__ == "__main__":
    main()
