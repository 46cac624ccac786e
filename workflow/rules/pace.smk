# How often Snakemake looks for jobs to start.


def look_when_jobs_end():
    """Without this, Snakemake's limit of 100 job starts a second (never reached here) has it look again one second after
    every look, for ever: each job that ends adds a look per second and a thread (9.27). After 250 jobs that takes half a
    core, after thousands all of it. A limit of the user's own stays.
    """
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
