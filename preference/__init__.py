"""The ground that every room stands on: records, errors, configuration, the store and the work folder."""
