<?php
// An ordinary PHP application: its own login form, PHP's own sessions in Redis, nothing that knows of a proxy.

const PEOPLE = ['ana' => [1, 'demo'], 'ben' => [2, 'demo']];

session_start();
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$posted = $_SERVER['REQUEST_METHOD'] === 'POST';

if ($path === '/login' && $posted) {
    [$user, $password] = PEOPLE[$_POST['name'] ?? ''] ?? [null, null];
    if ($user === null || ($_POST['password'] ?? '') !== $password) {
        http_response_code(403);
        return;
    }
    session_regenerate_id(true);
    $_SESSION['user_id'] = $user;
    header('Location: /', true, 303);
} elseif ($path === '/login') {
    echo '<form method="post"><input name="name"><input name="password" type="password"><button>Log in</button></form>';
} elseif ($path === '/logout' && $posted) {
    session_destroy();
    header('Location: /login', true, 303);
} else {
    // What the application knows by itself, and what it was sent.
    $headers = [];
    foreach (getallheaders() as $name => $value) {
        $headers[] = [$name, $value];
    }
    header('Content-Type: application/json');
    echo json_encode(['user' => $_SESSION['user_id'] ?? null, 'headers' => $headers]);
}
