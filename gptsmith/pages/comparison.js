showTrials(document.getElementById("trials"), pageData().trials, "Each run");
