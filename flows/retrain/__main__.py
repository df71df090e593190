"""Retrain once, here: python -m flows.retrain [PARAMETER=VALUE …]"""

from flows.retrain.flow import main

main()
