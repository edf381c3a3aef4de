"""Where the API is and who we are there: the pod's service account, or a kubeconfig."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import yaml
from kubernetes_asyncio import config
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION

from app.scaling.backends.base import BackendError
from app.settings import KubernetesSettings

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Credentials:
    """`load` reads them, and again after they were refused: tokens expire, and their files are replaced in place."""

    def __init__(self, settings: KubernetesSettings, folder: Path = SERVICE_ACCOUNT) -> None:
        self._settings, self._folder = settings, folder
        self._configuration = Configuration()

    async def load(self) -> Configuration:
        """Always the same object, with what is valid now. Raises BackendError (`api_config`)."""
        try:
            if self._settings.mode == "in_cluster":
                self._in_cluster()
            else:
                await self._kubeconfig()
        except (config.ConfigException, OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as exc:
            raise BackendError("api_config", f"The Kubernetes API cannot be found: {exc}") from exc
        return self._configuration

    def _in_cluster(self) -> None:
        config.load_incluster_config(  # type: ignore[no-untyped-call]
            client_configuration=self._configuration,
            token_filename=str(self._folder / "token"),
            cert_filename=str(self._folder / "ca.crt"),
        )

    async def _kubeconfig(self) -> None:
        paths = self._settings.kubeconfig or str(KUBE_CONFIG_DEFAULT_LOCATION)
        if not await asyncio.to_thread(_any_file, paths):
            raise config.ConfigException(f"there is no kubeconfig at {paths}")
        await config.load_kube_config(
            config_file=paths,
            context=self._settings.context or None,
            client_configuration=self._configuration,
            persist_config=False,
        )


def _any_file(paths: str) -> bool:
    return any(path and Path(path).expanduser().is_file() for path in paths.split(os.pathsep))
