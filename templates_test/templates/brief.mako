<%page args="article_id"/>\
<p><b><a href="${news[article_id].path}">${news[article_id].headline}.</a></b>
${news.teaser(article_id)}</p>
