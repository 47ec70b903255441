<?php // Follow a channel by asking again and again, and miss nothing: php poll.php http://127.0.0.1:4071 time
for ($cursor = ""; $answer = file_get_contents("$argv[1]/channels/$argv[2]/poll?since=$cursor"); ) {
    $told = json_decode($answer);
    foreach ($told->updates as $update) echo $update->data, "\n";
    $cursor = $told->cursor;
}
