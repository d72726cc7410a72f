-- Outcomes of jobs are the outputs that River records with the jobs themselves.
DROP TABLE outcomes;

-- A daemon's plan and apply, or destroy, of a Terraform workspace: one that goes on, or one that may have left a lock.
ALTER TABLE terraform_runs RENAME TO operations;
ALTER TABLE operations RENAME COLUMN replica TO daemon_id;
ALTER TABLE operations RENAME COLUMN lost_at TO missing_since; -- NULL while the daemon is connected
