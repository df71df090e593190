"""Retrain once, here: python -m flows.deployments.retrain [PARAMETER=VALUE …]"""

from flows.deployments.retrain.flow import main

main()
