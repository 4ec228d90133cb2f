"""S2TX: forecasts that can be trusted, every night.

The rooms, from the ground up (imports only point to rooms above in this list)::

    typed, yaml_core, specs,              settings and sizes, read strictly;
    study_params, params, paths,          places, messages, identity
    errors, fingerprint, locks
    data        model                     tables and windows; the network
    baselines                             what the model must beat
    zoo                                   name -> class
    training                              fit, checkpoints, bundles
    evaluation                            metrics, scores, plots; better, or only lucky
    registry                              MLflow: tracking, package, promote, ledger
    studies                               the grid and its audit, search, missing values
    forecasting                           data frame in, data frame out; serving
    ops                                   doctor
    cli                                   the command line; flows stand beside it
"""

__version__ = "0.1.0"
