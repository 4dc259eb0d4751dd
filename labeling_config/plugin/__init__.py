"""A Django app that Label Studio loads through its settings: access rules and the labelling page's script. No fork."""
