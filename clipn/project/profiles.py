"""Profiles: compose `params.yaml` from the Hydra groups in `conf/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from clipn.config.data import CLASS_NAMES, names_file_of
from clipn.data.sets import benchmarks
from clipn.errors import InvalidParams, MissingInput
from clipn.project.params import parse_params
from clipn.utils.files import write_text

CONF = Path("conf")


def names() -> list[str]:
    """Return the names of the profiles in `conf/profile`.

    Raises:
        MissingInput: the current folder has no `conf`.
    """
    profiles = sorted(path.stem for path in (_conf() / "profile").glob("*.yaml"))
    if not profiles:
        raise MissingInput(f"{_conf() / 'profile'} has no profile; get the project's files from git again")
    return profiles


def compose(profile: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the parameters of a profile, as Hydra composes them.

    Args:
        profile: one of `names()`.
        overrides: in Hydra's grammar, such as `train.epochs=3`.

    Raises:
        MissingInput: the current folder has no `conf`, or Hydra is not installed.
        InvalidParams: an unknown profile or key, or an override that Hydra does not understand.
    """
    if profile not in names():
        raise InvalidParams(f"unknown profile {profile!r}; known: {', '.join(names())}")
    try:
        import hydra.errors  # takes half a second, which a caller of `names` need not wait for
        import omegaconf
    except ImportError as error:
        raise MissingInput("Hydra, which composes profiles, is not installed: pip install 'clipn[pipeline]'") from error
    register_benchmarks()
    try:
        with hydra.initialize_config_dir(str(_conf().resolve()), version_base=None):
            config = hydra.compose(config_name="config", overrides=[f"profile={profile}", *overrides])
        values = omegaconf.OmegaConf.to_container(config, resolve=True)
    except (hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException) as error:
        _explain_unknown_keys(profile, overrides)
        problem = " ".join(str(error).split())
        raise InvalidParams(f"profile {profile!r} with {', '.join(overrides) or 'no override'}: {problem}") from error
    assert isinstance(values, dict)
    composed = {str(key): value for key, value in values.items()}
    for options in composed["sets"].values():
        # Not in the profiles: it follows from `class_names`, and DVC needs it as a path.
        options.setdefault("names_file", names_file_of(options.get("class_names", CLASS_NAMES[0])))
    return composed


def register_benchmarks() -> None:
    """Offer every published benchmark to Hydra as a member of the group `benchmark`.

    A profile takes them in as `/benchmark: [NAME, …]`. A file `conf/benchmark/NAME.yaml` comes before a published one.
    """
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for name in benchmarks.benchmarks():
        if (CONF / "benchmark" / f"{name}.yaml").is_file():
            # An earlier call may have offered it; Hydra would take it as the schema of the file and merge both.
            store.repo.get("benchmark", {}).pop(f"{name}.yaml", None)
        else:
            node = yaml.safe_load(benchmarks.configuration(name))
            store.store(name, node, group="benchmark", package="_global_")


def _explain_unknown_keys(profile: str, overrides: Sequence[str]) -> None:
    """Hydra says that a key is unknown, but not which keys there are.

    Raises:
        InvalidParams: for the first override of a key that the profile does not have.
    """
    for override in overrides:
        values: Any = compose(profile)
        where = f"profile {profile!r}"
        for part in override.lstrip("+~").partition("=")[0].split("."):
            if not isinstance(values, dict) or part not in values:
                known = ", ".join(map(str, values)) if isinstance(values, dict) else "none"
                raise InvalidParams(f"{override}: {where} has no key {part!r}; known: {known}")
            values, where = values[part], part


def write(profile: str, path: str | Path = "params.yaml", overrides: Sequence[str] = ()) -> None:
    """Compose a profile, check it and write it.

    Raises:
        MissingInput: the current folder has no `conf`.
        InvalidParams: as `compose`, or a value is wrong; the file stays as it was.
    """
    values = compose(profile, overrides)
    parse_params(values, f"profile {profile!r}")
    command = " ".join(["clipn profile", profile, *overrides])
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
    write_text(path, f"# Composed from conf/; change it there and write this file again with: {command}\n{text}")


def _conf() -> Path:
    if not (CONF / "config.yaml").is_file():
        raise MissingInput(f"{CONF / 'config.yaml'} does not exist in {Path.cwd()}; run in the project's root")
    return CONF
