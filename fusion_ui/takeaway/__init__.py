"""What a person leaves with: the merged model as a folder, a zip or a hub repository, and a report of the run."""
