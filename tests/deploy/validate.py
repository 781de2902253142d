"""Validates Kubernetes objects (YAML on standard input) against the schemas of the oldest and the
newest Kubernetes that they are for, and prints what is wrong, and the objects, as JSON."""

import json
import sys

import kubernetes_validate
import yaml

VERSIONS = ("1.30", kubernetes_validate.latest_version())

objects = [found for found in yaml.safe_load_all(sys.stdin) if found]
problems = []
for found in objects:
    name = f"{found.get('kind')}/{found.get('metadata', {}).get('name')}"
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(found, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            problems.append(f"{name} for {version}: {'.'.join(map(str, error.path))}: {error.message}")
json.dump({"problems": problems, "objects": objects}, sys.stdout)
