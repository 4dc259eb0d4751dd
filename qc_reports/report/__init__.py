"""A batch's report: figures and answers in, one HTML page, qc.json and tables out."""
