# Words that no file of the project may contain, comments and texts included.

function say(sentence) { printf "%s:%d: %s\n", FILENAME, FNR, sentence }

# No word boundaries in every awk: a border is whatever is no letter, digit or underscore.
{ text = " " $0 " " }

text ~ /[^A-Za-z0-9_](TODO|FIXME|XXX)[^A-Za-z0-9_]/ {
    say("an unfinished thought: finish it, or leave it out")
}
text ~ /[^A-Za-z0-9_.~](\/work\/|\/root\/|\/home\/[a-z]|\/Users\/)/ {
    say("a path of one machine")
}
tolower(text) ~ /[^a-z](issue|pr|pull request) #/ {
    say("a number of a tracker: say why in words instead")
}
