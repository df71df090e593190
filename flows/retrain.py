"""Retrain once, here: python -m flows.retrain [PARAMETER=VALUE …]"""

from flows.deployments.retrain.flow import main

if __name__ == "__main__":
    main()
