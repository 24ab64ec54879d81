<%namespace name="nav" file="nav.mako"/>\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title><%block name="title">The Saltmere Courier</%block></title>
<link rel="stylesheet" href="/static/style.css">
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
</head>
<body>
<a class="skip" href="#content">Skip to the news</a>
<header class="masthead">
<%block name="dateline" cached="True" cache_region="long">
<p class="dateline">
<time datetime="${news.edition.isoformat()}">${f"{news.edition:%A}, {news.edition.day} {news.edition:%B %Y}"}</time>
</p>
</%block>
<p class="name"><a href="/">The Saltmere Courier</a></p>
<%block name="weather" cached="True" cache_region="short"
        cache_ttl="90s" cache_vary="${(user.units,)}">
<% today = news.weather(user.units) %>
<p class="weather"><span>${today["word"]}</span>
<span class="figures">${today["low"]} to ${today["high"]}</span></p>
</%block>
</header>
${nav.menu(section)}
<%block name="banner"/>
<main id="content">
${next.body()}
</main>
<footer>
<%include file="colophon.mako"/>
<!--footnote-->
</footer>
</body>
</html>
