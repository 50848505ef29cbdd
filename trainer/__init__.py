"""The pipeline: collect, import, build the dataset, train, evaluate. Stages meet in the store and in sealed folders."""
